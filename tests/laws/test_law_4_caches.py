"""Law 4: cached equals uncached, for all-attention, all-recurrent and mixed paths."""

from __future__ import annotations

import pytest
import torch

from manticore.discretization import discretize
from manticore.kernels import is_installed, uninstall
from manticore.modeling import segments
from tests.pico import FAMILIES, supernet, tokens

PATHS = {"mixed": ["home", "foreign", "home"], "home": ["home"] * 3, "foreign": ["foreign"] * 3}


def _hybrid(family: str, path: str) -> torch.nn.Module:
    return discretize(supernet(family, "mamba" if family != "mamba" else "gpt_neo"), PATHS[path])


@pytest.mark.parametrize("chunks", [[17], [16, 1], [9, 5, 3], [1] * 17], ids=["whole", "decode", "chunked", "by-token"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_in_pieces(family: str, path: str, chunks: list[int]) -> None:
    hybrid = _hybrid(family, path)
    ids, _ = tokens()
    pieces, cache = [], None
    with torch.no_grad():
        whole = hybrid(input_ids=ids).logits
        for piece in ids.split(chunks, dim=1):
            out = hybrid(input_ids=piece, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            pieces.append(out.logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=2e-5, rtol=0)
    assert cache.get_seq_length() == 17


@pytest.mark.parametrize("family", ["gpt_neo", "mamba", "mamba2"])
def test_an_exported_checkpoint_does_without_our_kernels(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    hybrid = _hybrid(family, "mixed")
    ids, mask = tokens(pad_left=4)
    with torch.no_grad():
        ours = hybrid(input_ids=ids, attention_mask=mask).logits
    uninstall()
    monkeypatch.setattr(segments, "kernels", None)
    assert not is_installed()
    with torch.no_grad():
        theirs = hybrid(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(theirs[mask.bool()], ours[mask.bool()], atol=2e-5, rtol=0)
    test_logits_in_pieces(family, "mixed", [9, 5, 3])


@pytest.mark.parametrize("family", ["gpt_neo", "llama", "mamba", "mamba2"])
def test_generation_with_left_padding_equals_one_by_one(family: str) -> None:
    hybrid = _hybrid(family, "mixed")
    ids, mask = tokens(2, 9, pad_left=4)
    ids[0, :4] = 0
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    batch = hybrid.generate(input_ids=ids, attention_mask=mask, **settings)[:, 9:]
    alone = hybrid.generate(input_ids=ids[:1, 4:], attention_mask=mask[:1, 4:], **settings)[:, 5:]
    assert torch.equal(batch[:1], alone)
    uncached = hybrid.generate(input_ids=ids, attention_mask=mask, use_cache=False, **settings)[:, 9:]
    assert torch.equal(batch, uncached)


def test_beam_search_reorders_every_stage() -> None:
    hybrid = _hybrid("gpt_neo", "mixed")
    ids, mask = tokens(2, 9)
    settings = {"max_new_tokens": 6, "do_sample": False, "num_beams": 3, "pad_token_id": 0}
    cached = hybrid.generate(input_ids=ids, attention_mask=mask, **settings)
    assert torch.equal(cached, hybrid.generate(input_ids=ids, attention_mask=mask, use_cache=False, **settings))
