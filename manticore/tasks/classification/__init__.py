"""Classification of text and images, at the level of characters and pixels."""
