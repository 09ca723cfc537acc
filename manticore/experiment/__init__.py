"""One run: its folder, components, phases of training, model selection and evaluation."""
