"""Changes that break a promise, each with the tests that have to fail when it is made."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A change of the code.

    Attributes:
        file: from the root of the repository.
        before: text that is in the file exactly once.
        after: what takes its place.
        tests: what has to notice: ids of tests, with blanks between them.
    """

    file: str
    before: str
    after: str
    tests: str


# fmt: off
MUTANTS = (
    # What is written survives: order, syncs and locks.
    Mutant("frozenprobe/system/atomic_files.py", "                file.flush()\n", "", "tests/system/test_atomic_files.py::test_data_are_synced_before_the_rename"),
    Mutant("frozenprobe/system/atomic_files.py", "                os.fsync(file.fileno())\n", "", "tests/system/test_atomic_files.py::test_data_are_synced_before_the_rename"),
    Mutant("frozenprobe/system/atomic_files.py", "            os.replace(aside, path)\n            sync_folder(path.parent)\n", "            os.replace(aside, path)\n", "tests/system/test_atomic_files.py::test_data_are_synced_before_the_rename"),
    Mutant("frozenprobe/cache/growing/lock.py", "        if is_same and read_holder(lock) == holder:", "        if is_same:", "tests/cache/growing/test_lock.py::test_a_lock_that_has_become_somebody_elses_is_not_taken_away"),
    Mutant("frozenprobe/cache/growing/lock.py", "        if is_same and read_holder(lock) == holder:", "        if read_holder(lock) == holder:", "tests/cache/growing/test_lock.py::test_a_lock_that_has_become_somebody_elses_is_not_taken_away"),
    Mutant("frozenprobe/cache/growing/lock.py", "        lock_exclusively(file)\n", "", "tests/cache/growing/test_lock.py::test_who_takes_a_lock_away_keeps_others_from_doing_so_meanwhile"),
    Mutant("frozenprobe/cache/growing/lock.py", "fcntl.LOCK_EX", "fcntl.LOCK_SH", "tests/cache/growing/test_lock.py::test_who_takes_a_lock_away_keeps_others_from_doing_so_meanwhile"),
    Mutant("frozenprobe/cache/growing/lock.py", "    except OSError:\n        lock.unlink(missing_ok=True)\n        raise\n", "    except OSError:\n        pass\n", "tests/cache/growing/test_lock.py::test_a_lock_that_could_not_be_written_is_no_lock"),
    Mutant("frozenprobe/cache/growing/lock.py", "        lock.unlink(missing_ok=True)\n        raise\n", "        raise\n", "tests/cache/growing/test_lock.py::test_a_lock_that_could_not_be_written_is_no_lock"),
    Mutant("frozenprobe/cache/growing/lock.py", "holder is not None and holder.token == me.token", "holder is not None", "tests/cache/growing/test_lock.py::test_who_was_broken_in_on_does_not_remove_the_others_lock"),
    # The file, and looking after it.
    Mutant("frozenprobe/cache/care/repair.py", "good[start : start + BLOCKS_A_PIECE * BLOCK_ROWS])", "good[start : start + BLOCKS_A_PIECE * BLOCK_ROWS - 1])", "tests/cache/care/test_repair.py::test_every_whole_row_of_a_file_larger_than_a_piece_is_kept"),
    Mutant("frozenprobe/cache/care/repair.py", "            for start in range(0, len(split), BLOCKS_A_PIECE * BLOCK_ROWS):", "            for start in range(0, BLOCKS_A_PIECE * BLOCK_ROWS, BLOCKS_A_PIECE * BLOCK_ROWS):", "tests/cache/care/test_repair.py::test_every_whole_row_of_a_file_larger_than_a_piece_is_kept"),
    Mutant("frozenprobe/cache/care/repair.py", "    os.replace(path, report.moved_to)\n    sync_folder(path.parent)\n", "    os.replace(path, report.moved_to)\n", "tests/cache/care/test_repair.py::test_the_names_of_a_repaired_file_survive_a_power_cut"),
    Mutant("frozenprobe/cache/store.py", "~np.isfinite(as_rows(content, array)).all(axis=1)", "np.isnan(as_rows(content, array)).all(axis=1)", "tests/cache/test_store.py::test_a_damaged_block_is_told_with_the_images_whose_numbers_are_none"),
    Mutant("frozenprobe/cache/store.py", "            block = slice(start, start + READ_ROWS)\n", "            block = slice(start, start + READ_ROWS - 1)\n", "tests/cache/test_store.py::test_a_file_of_several_blocks_is_read_back_row_by_row"),
    # From photos to rows.
    Mutant("frozenprobe/extract/target.py", "        return self.state != state_of(self.out)\n", "        return False\n", "tests/extract/test_run.py::test_a_file_that_has_grown_meanwhile_loses_nothing"),
    Mutant("frozenprobe/extract/target.py", "for path in (out, plan_path(out)))", "for path in (out,))", "tests/extract/test_run.py::test_a_plan_that_appeared_meanwhile_holds"),
    Mutant("frozenprobe/extract/compute/pipeline.py", "            if len(waiting) > AHEAD:\n                yield fetched(*waiting.popleft(), seconds)\n", "", "tests/extract/compute/test_pipeline.py::test_a_device_hands_rows_out_while_it_computes_the_next_ones"),
    Mutant("frozenprobe/extract/compute/pipeline.py", "                if len(waiting) > AHEAD * threads:\n                    yield from waiting.popleft().result()\n", "", "tests/extract/compute/test_pipeline.py::test_threads_hand_rows_out_while_the_next_ones_are_computed"),
)
# fmt: on
