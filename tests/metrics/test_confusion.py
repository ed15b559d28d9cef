"""Counts of classes that may overlap: the usual formulas have to give each class's own scores."""

import itertools
import json
import multiprocessing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from segexp.data.labels.modes import label_layer
from segexp.metrics.confusion import CaseCounts, confusion, overlapping_confusion, split_matrix
from segexp.metrics.scores import class_scores, summarise_scores


def sets(seed, classes, shape=(13, 17), ignored=True):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 1 << (classes - 1), shape, dtype=np.uint8)
    if ignored:
        mask[:3, :5] = 255
    return torch.from_numpy(mask)


@pytest.mark.parametrize("classes", [2, 3, 5, 8])
def test_each_class_is_counted_as_by_itself(classes):
    truth, prediction = sets(0, classes), sets(1, classes, ignored=False)
    matrix = overlapping_confusion(prediction, truth, classes)
    alone = [
        confusion(*(torch.from_numpy(label_layer(mask.numpy(), k)) for mask in (prediction, truth)), 2).numpy()
        for k in range(1, classes)
    ]
    np.testing.assert_array_equal(split_matrix(matrix.numpy()), alone)
    scores, single = class_scores(matrix.numpy()[None]), class_scores(np.stack(alone))
    for name in ("tp", "fp", "fn", "dice", "iou", "precision", "recall"):
        np.testing.assert_array_equal(getattr(scores, name)[0, 1:], getattr(single, name)[:, 1])


def test_one_foreground_class_is_the_matrix_of_two_exclusive_classes():
    truth, prediction = sets(2, 2), sets(3, 2, ignored=False)
    assert overlapping_confusion(prediction, truth, 2).equal(confusion(prediction, truth, 2))


def test_the_accuracy_is_the_share_of_right_answers():
    truth, prediction = torch.tensor([[0, 1, 3, 255]]).byte(), torch.tensor([[0, 3, 3, 1]]).byte()
    found = summarise_scores(overlapping_confusion(prediction, truth, 3).numpy()[None], ("none", "cell", "nucleus"))
    assert found["accuracy"] == pytest.approx(5 / 6), "six questions about three known pixels, one answer is wrong"
    assert found["dice/cell"] == 1
    assert found["dice/nucleus"] == pytest.approx(2 / 3)


def test_matrices_add_up_over_cases():
    pairs = [(sets(n, 4, ignored=n % 2 > 0), sets(n + 9, 4, ignored=False)) for n in range(3)]
    each = [overlapping_confusion(prediction, truth, 4).numpy() for truth, prediction in pairs]
    np.testing.assert_array_equal(split_matrix(sum(each)), sum(split_matrix(one) for one in each))


def test_the_counts_of_cases_take_either():
    counts = CaseCounts(3, overlapping_confusion)
    truth, prediction = sets(4, 3), sets(5, 3, ignored=False)
    counts.update(7, prediction, truth)
    positions, matrices = counts.compute()
    assert positions == [7]
    assert matrices[0].equal(overlapping_confusion(prediction, truth, 3))


TRUTH = torch.tensor([[0, 0, 1], [1, 2, 255]], dtype=torch.uint8)
PREDICTION = torch.tensor([[0, 1, 1], [2, 2, 0]], dtype=torch.uint8)
EXPECTED = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 1]])


def cases(count, classes=3, seed=0):
    """Return (index, prediction, truth) of cases of different sizes, some pixels ignored."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        size = (5 + index, 7)
        truth = torch.randint(0, classes, size, generator=draw, dtype=torch.uint8)
        truth[torch.rand(size, generator=draw) < 0.1] = 255
        made.append((index, torch.randint(0, classes, size, generator=draw, dtype=torch.uint8), truth))
    return made


def collected(updates, classes=3):
    counts = CaseCounts(classes)
    for update in updates:
        counts.update(*update)
    return counts.compute()


def counted_by_hand(prediction, truth, classes):
    table = np.zeros((classes, classes), np.int64)
    for p, t in zip(prediction.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if t != 255:
            table[t, p] += 1
    return torch.from_numpy(table)


def test_rows_are_the_truth_and_ignored_pixels_do_not_count():
    found = confusion(PREDICTION, TRUTH, 3)
    assert found.dtype == torch.int64
    assert found.tolist() == EXPECTED.tolist()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("classes", [2, 3, 6, 20])
def test_confusion_against_counting_by_hand(dtype, classes):
    (_, prediction, truth), *_ = cases(1, classes)
    found = confusion(prediction.to(dtype), truth.to(dtype), classes)
    assert found.equal(counted_by_hand(prediction, truth, classes))


def test_many_classes_do_not_overflow_a_byte():
    truth = torch.full((3, 3), 99, dtype=torch.uint8)
    assert confusion(truth, truth, 100)[99, 99] == 9


def test_a_class_that_nobody_has_keeps_its_row_and_column():
    found = confusion(torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.uint8), 5)
    assert found.shape == (5, 5)
    assert found.sum() == found[0, 0] == 16


def test_a_case_that_is_ignored_everywhere_counts_nothing():
    assert confusion(PREDICTION, torch.full_like(TRUTH, 255), 3).sum() == 0


def test_one_matrix_per_case_sorted_by_position():
    made = cases(4)
    positions, matrices = collected(made)
    assert positions == [0, 1, 2, 3]
    assert matrices.shape == (4, 3, 3)
    for n, prediction, truth in made:
        assert matrices[n].equal(counted_by_hand(prediction, truth, 3))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_updates_does_not_matter(order):
    made = cases(3)
    positions, matrices = collected([made[n] for n in order])
    assert positions == [0, 1, 2]
    assert matrices.equal(collected(made)[1])


def test_a_case_seen_twice_counts_once():
    made = cases(3)
    positions, matrices = collected([*made, made[1], made[0], made[1]])
    assert positions == [0, 1, 2]
    assert matrices.equal(collected(made)[1])


@pytest.mark.parametrize("group", [1, 3, 7])
def test_groups_of_any_size_give_the_same(group):
    made, counts = cases(7), CaseCounts(3)
    for start in range(0, 7, group):
        for index, prediction, truth in made[start : start + group]:
            counts.update(index, prediction, truth)
    positions, matrices = counts.compute()
    assert positions == list(range(7))
    assert matrices.equal(collected(made)[1])


def test_a_single_case_keeps_its_shape():
    positions, matrices = collected(cases(1))
    assert positions == [0]
    assert matrices.shape == (1, 3, 3)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric CaseCounts was called before")
def test_no_case_at_all():
    positions, matrices = CaseCounts(3).compute()
    assert positions == []
    assert matrices.shape == (0, 3, 3)
    assert matrices.dtype == torch.int64


def test_reset_forgets_all_cases():
    counts = CaseCounts(3)
    for update in cases(3):
        counts.update(*update)
    counts.reset()
    counts.update(*cases(5)[4])
    assert counts.compute()[0] == [4]


def test_counts_are_no_part_of_a_checkpoint():
    counts = CaseCounts(3)
    counts.update(*cases(1)[0])
    assert counts.state_dict() == {}


# Several processes -------------------------------------------------------------------------------------------------------


def merged(*shares):
    """Return what the first of several processes computes, each holding one share of the updates."""
    ranks = []
    for share in shares:
        ranks.append(CaseCounts(3))
        for update in share:
            ranks[-1].update(*update)
    held = {name: [torch.cat(getattr(rank, name)) for rank in ranks] for name in ("indices", "matrices")}

    def gather(tensor, group=None):
        return held["indices" if tensor.ndim == 1 else "matrices"]

    ranks[0].dist_sync_fn = gather
    ranks[0].distributed_available_fn = lambda: True
    ranks[0]._to_sync = True
    before = len(ranks[0].indices)
    found = ranks[0].compute()
    assert len(ranks[0].indices) == before  # the process keeps its own share only
    return found


def test_shares_of_several_processes_are_merged():
    made = cases(7)
    positions, matrices = merged(made[0::3], made[1::3], made[2::3])
    assert positions == list(range(7))
    assert matrices.equal(collected(made)[1])


def test_a_case_that_two_processes_saw_counts_once():
    made = cases(4)
    positions, matrices = merged([made[0], made[2]], [made[1], made[3], made[0]])
    assert positions == list(range(4))
    assert matrices.equal(collected(made)[1])


def test_a_process_without_a_case_is_no_problem():
    made = cases(2)
    positions, matrices = merged(made[:1], made[1:], [])
    assert positions == [0, 1]
    assert matrices.equal(collected(made)[1])


def one_of_two_processes(rank, folder):
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    counts = CaseCounts(2)
    for index in (3, 1)[: 2 - 2 * rank]:  # the second process has no case
        counts.update(index, torch.zeros(2, 2, dtype=torch.uint8), torch.ones(2, 2, dtype=torch.uint8))
    found = counts.compute()
    counts.reset()
    Path(folder, f"{rank}.json").write_text(json.dumps([found[0], found[1].tolist()]))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric CaseCounts was called before")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the test forks its processes")
def test_two_real_processes_one_of_them_without_a_case(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=one_of_two_processes, args=(n, str(tmp_path))) for n in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(90)
    for n in range(2):
        assert json.loads((tmp_path / f"{n}.json").read_text()) == [[1, 3], [[[0, 0], [4, 0]]] * 2]
