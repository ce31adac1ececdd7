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
    # Files that appear whole or not at all.
    Mutant("frozenprobe/system/atomic_files.py", "                file.flush()\n", "", "tests/system/test_atomic_files.py::test_data_are_synced_before_the_rename"),
    Mutant("frozenprobe/system/atomic_files.py", "                os.fsync(file.fileno())\n", "", "tests/system/test_atomic_files.py::test_data_are_synced_before_the_rename"),
    Mutant("frozenprobe/system/atomic_files.py", "            os.replace(aside, path)\n            sync_folder(path.parent)\n", "            os.replace(aside, path)\n", "tests/system/test_atomic_files.py::test_data_are_synced_before_the_rename"),
    # The file, its growth and its care.
    Mutant("frozenprobe/cache/care/merge.py", "all(view in each.test_views for each in counted)", "any(view in each.test_views for each in counted)", "tests/cache/care/test_merge.py::test_a_test_time_view_that_one_file_lacks_is_dropped_and_no_image"),
    Mutant("frozenprobe/cache/care/merge.py", "                if not near >= LEAST_COSINE:", "                if near < -LEAST_COSINE:", "tests/cache/care/test_merge.py::test_shared_rows_that_differ_in_the_shorter_tap_alone_are_refused"),
    Mutant("frozenprobe/cache/care/repair.py", "good[start : start + BLOCKS_A_PIECE * BLOCK_ROWS])", "good[start : start + BLOCKS_A_PIECE * BLOCK_ROWS - 1])", "tests/cache/care/test_repair.py::test_every_whole_row_of_a_file_larger_than_a_piece_is_kept"),
    Mutant("frozenprobe/cache/care/repair.py", "            for start in range(0, len(split), BLOCKS_A_PIECE * BLOCK_ROWS):", "            for start in range(0, BLOCKS_A_PIECE * BLOCK_ROWS, BLOCKS_A_PIECE * BLOCK_ROWS):", "tests/cache/care/test_repair.py::test_every_whole_row_of_a_file_larger_than_a_piece_is_kept"),
    Mutant("frozenprobe/cache/care/repair.py", "    os.replace(path, report.moved_to)\n    sync_folder(path.parent)\n", "    os.replace(path, report.moved_to)\n", "tests/cache/care/test_repair.py::test_the_names_of_a_repaired_file_survive_a_power_cut"),
    Mutant("frozenprobe/cache/care/repair.py", "            report.kept = features.stored_rows - lost", "            report.kept = features.stored_rows", "tests/cache/care/test_repair.py::test_repair_keeps_the_damaged_file_beside_and_never_replaces_an_earlier_one"),
    Mutant("frozenprobe/cache/care/repair.py", "            good[dropped.get((name, view), [])] = False\n", "", "tests/cache/care/test_repair.py::test_repair_keeps_the_damaged_file_beside_and_never_replaces_an_earlier_one"),
    Mutant("frozenprobe/cache/care/repair.py", "    while name.exists():", "    while False:", "tests/cache/care/test_repair.py::test_repair_keeps_the_damaged_file_beside_and_never_replaces_an_earlier_one"),
    Mutant("frozenprobe/cache/care/repair.py", "    write_plan(path, replace(plan, taps=features.taps))\n", "", "tests/cache/care/test_repair.py::test_repair_remembers_where_the_rows_come_from"),
    Mutant("frozenprobe/cache/care/repair.py", "            put_aside(piece, path)\n            dropped += 1\n            continue\n", "            piece.unlink()\n            dropped += 1\n            continue\n", "tests/cache/care/test_repair.py::test_a_damaged_piece_is_put_aside_and_not_deleted"),
    Mutant("frozenprobe/cache/care/verify.py", "        bad = sum(int((~whole_rows(file, array)).sum()) for array in file.features.values())", "        bad = 0", "tests/cache/care/test_repair.py::test_damaged_pieces_are_told_and_dropped_and_their_whole_rows_kept"),
    Mutant("frozenprobe/cache/care/verify.py", "hashlib.sha256(read_image(place)).hexdigest() != content_hash", "False", "tests/cache/care/test_verify.py::test_images_are_hashed_again_and_compared"),
    Mutant("frozenprobe/cache/container/read.py", "            out[wanted] = found[inside]", "            out[wanted] = found[np.sort(inside)]", "tests/cache/container/test_read.py::test_rows_come_in_the_order_that_is_asked_for"),
    Mutant("frozenprobe/cache/container/read.py", "        if hashlib.sha256(content).digest() != array.digests[view, block].tobytes():\n            return None\n", "", "tests/cache/test_store.py::test_a_damaged_block_is_told_with_the_images_whose_numbers_are_none"),
    Mutant("frozenprobe/cache/container/read.py", "        if digest.hexdigest() != self.seal.metadata:\n            raise Damage(\"another checksum of the metadata than they were sealed with\")\n", "", "tests/cache/test_store.py::test_a_file_that_somebody_else_has_changed_is_refused"),
    Mutant("frozenprobe/cache/container/read.py", "min((block + 1) * BLOCK_ROWS, self.shape[1])", "min((block + 1) * BLOCK_ROWS, self.shape[1] - 1)", "tests/cache/container/test_read.py::test_a_row_of_a_checked_block_is_not_taken_on_trust_when_the_file_has_changed"),
    Mutant("frozenprobe/cache/container/read.py", "            if (array.name, view, block) in self.whole and len(wanted) < FEW_ROWS:", "            if len(wanted) < FEW_ROWS:", "tests/cache/test_store.py::test_a_damaged_block_is_told_with_the_images_whose_numbers_are_none"),
    Mutant("frozenprobe/cache/container/read.py", " or self.state() != self.opened_as:", ":", "tests/cache/container/test_read.py::test_a_row_of_a_checked_block_is_not_taken_on_trust_when_the_file_has_changed"),
    Mutant("frozenprobe/cache/container/read.py", "        if self.seal.metadata != metadata:", "        if False:", "tests/cache/test_store.py::test_a_file_travels_to_another_process_unless_another_one_has_taken_its_name"),
    Mutant("frozenprobe/cache/container/read.py", "                if error.errno != errno.EIO:\n                    raise\n", "                raise\n", "tests/cache/test_damage.py::test_a_disk_that_cannot_read_a_block_costs_that_block"),
    Mutant("frozenprobe/cache/container/seal.py", " or hashlib.sha256(body).hexdigest().encode() != digest:", ":", "tests/cache/container/test_seal.py::test_any_changed_bit_of_a_seal_is_damage"),
    Mutant("frozenprobe/cache/container/write.py", "                array.digests[view, block] = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)\n", "", "tests/cache/container/test_read.py::test_a_row_of_a_checked_block_is_not_taken_on_trust_when_the_file_has_changed"),
    Mutant("frozenprobe/cache/container/write.py", "            rest.append((seal.spare[0], b\"\".join([*metadata, block])))", "            pass", "tests/cache/care/test_repair.py::test_what_another_program_does_to_the_file_can_be_undone"),
    Mutant("frozenprobe/cache/contents.py", "split.groups, split.folds))", "split.groups))", "tests/cache/test_contents.py::test_any_difference_in_the_index_is_seen"),
    Mutant("frozenprobe/cache/contents.py", "split.usable.tolist(), labels,", "split.usable.tolist(),", "tests/cache/test_contents.py::test_any_difference_in_the_index_is_seen"),
    Mutant("frozenprobe/cache/damage.py", "            whole[array.rows_of(block)] = np.isfinite(vectors).all(axis=1)", "            whole[array.rows_of(block)] = True", "tests/cache/test_damage.py::test_rows_that_are_not_finite_are_named"),
    Mutant("frozenprobe/cache/damage.py", "                bad |= ~good\n", "                bad = ~good\n", "tests/cache/test_damage.py::test_rows_that_are_not_finite_are_named"),
    Mutant("frozenprobe/cache/growing/finish.py", "        require_space(path, finished=finished_bytes(contents))\n", "", "tests/faults/test_disk.py::test_too_little_space_for_the_finished_file_is_an_error_that_keeps_all_rows"),
    Mutant("frozenprobe/cache/growing/finish.py", "    require_space(path, pieces=(rows.total - rows.there) * row_bytes(contents), finished=finished_bytes(contents))\n", "", "tests/faults/test_disk.py::test_too_little_space_is_an_error_before_the_start"),
    Mutant("frozenprobe/cache/growing/finish.py", "        changed = any(damaged_rows(rows.existing))  # killed", "        changed = False  # killed", "tests/cache/growing/test_finish.py::test_pieces_are_not_thrown_away_while_the_finished_file_is_damaged"),
    Mutant("frozenprobe/cache/growing/finish.py", "        if begun is not None and begun.index() != contents.index():", "        if False:", "tests/cache/growing/test_history.py::test_a_plan_is_never_older_than_the_file_beside_it"),
    Mutant("frozenprobe/cache/growing/finish.py", "    changed = computed or rows.existing is None or contents.index() != rows.existing.index()", "    changed = computed or rows.existing is None", "tests/extract/test_run.py::test_changed_sample_is_taken_over_without_computing"),
    Mutant("frozenprobe/cache/growing/lock.py", "        if is_same and read_holder(lock) == holder:", "        if is_same:", "tests/cache/growing/test_lock.py::test_a_lock_that_has_become_somebody_elses_is_not_taken_away"),
    Mutant("frozenprobe/cache/growing/lock.py", "        if is_same and read_holder(lock) == holder:", "        if read_holder(lock) == holder:", "tests/cache/growing/test_lock.py::test_a_lock_that_has_become_somebody_elses_is_not_taken_away"),
    Mutant("frozenprobe/cache/growing/lock.py", "        lock_exclusively(file)\n", "", "tests/cache/growing/test_lock.py::test_who_takes_a_lock_away_keeps_others_from_doing_so_meanwhile"),
    Mutant("frozenprobe/cache/growing/lock.py", "fcntl.LOCK_EX", "fcntl.LOCK_SH", "tests/cache/growing/test_lock.py::test_who_takes_a_lock_away_keeps_others_from_doing_so_meanwhile"),
    Mutant("frozenprobe/cache/growing/lock.py", "    except OSError:\n        lock.unlink(missing_ok=True)\n        raise\n", "    except OSError:\n        pass\n", "tests/cache/growing/test_lock.py::test_a_lock_that_could_not_be_written_is_no_lock"),
    Mutant("frozenprobe/cache/growing/lock.py", "        lock.unlink(missing_ok=True)\n        raise\n", "        raise\n", "tests/cache/growing/test_lock.py::test_a_lock_that_could_not_be_written_is_no_lock"),
    Mutant("frozenprobe/cache/growing/lock.py", "holder is not None and holder.token == me.token", "holder is not None", "tests/cache/growing/test_lock.py::test_who_was_broken_in_on_does_not_remove_the_others_lock"),
    Mutant("frozenprobe/cache/growing/lock.py", "        return self.started != start_of(self.pid)\n", "        return False\n", "tests/cache/growing/test_lock.py::test_a_killed_process_that_nobody_has_asked_about_yet_is_dead"),
    Mutant("frozenprobe/cache/growing/lock.py", "        if not self.is_neighbour():\n            return False\n", "", "tests/cache/growing/test_lock.py::test_a_holder_whose_processes_cannot_be_seen_from_here_counts_as_alive"),
    Mutant("frozenprobe/cache/growing/lock.py", "    may_go = break_lock if holder is None else holder.is_dead() or (break_lock and not holder.is_alive())", "    may_go = break_lock if holder is None else holder.is_dead() or break_lock", "tests/cache/growing/test_lock.py::test_the_lock_of_a_living_process_of_this_machine_is_not_broken"),
    Mutant("frozenprobe/cache/growing/lock.py", "        for lock in rank_locks(path):\n            clear(path, lock, break_lock=break_lock)\n        remove_partials(pieces_folder(path))\n", "        remove_partials(pieces_folder(path))\n", "tests/cache/growing/test_lock.py::test_a_lone_writer_is_refused_while_a_rank_lives_and_gives_its_own_lock_back"),
    Mutant("frozenprobe/cache/growing/lock.py", "        if not others:\n            remove_partials", "        if True:\n            remove_partials", "tests/cache/growing/test_lock.py::test_a_rank_removes_what_killed_ones_left_half_written_only_if_no_other_is_writing"),
    Mutant("frozenprobe/cache/growing/pieces.py", "    good = np.flatnonzero(whole_rows(file, array))", "    good = np.arange(array.shape[1])", "tests/cache/growing/test_rows.py::test_a_damaged_block_of_a_small_piece_does_not_stop_the_joining"),
    Mutant("frozenprobe/cache/growing/pieces.py", " and file.attributes.get(\"fingerprint\") == spec.fingerprint():", ":", "tests/cache/growing/test_rows.py::test_pieces_of_another_specification_are_left_alone"),
    Mutant("frozenprobe/cache/growing/rows.py", "        broken = np.flatnonzero(~np.isfinite(out).all(axis=(1, 2)))", "        broken = np.flatnonzero(np.isnan(out).all(axis=(1, 2)))", "tests/cache/growing/test_rows.py::test_one_number_that_is_none_is_an_error_that_names_the_image"),
    Mutant("frozenprobe/cache/growing/rows.py", "        known &= good\n", "", "tests/cache/growing/test_rows.py::test_rows_that_only_a_damaged_block_has_are_missing"),
    Mutant("frozenprobe/cache/growing/rows.py", "        self.small = []\n        self._publish(hashes, views, vectors, self.environments)\n        self.close()\n        for piece in joined:\n            piece.unlink()\n", "        self.small = []\n        for piece in joined:\n            piece.unlink()\n        self._publish(hashes, views, vectors, self.environments)\n        self.close()\n", "tests/cache/growing/test_rows.py::test_a_kill_while_small_pieces_are_joined_loses_no_row"),
    Mutant("frozenprobe/cache/growing/rows.py", "np.unique(np.linspace(0, len(cells) - 1, min(most, len(cells))).astype(int))", "np.arange(min(most, len(cells)))", "tests/cache/growing/test_rows.py::test_a_few_of_the_stored_rows_are_spread_over_images_and_views"),
    Mutant("frozenprobe/cache/growing/rows.py", "found[self.hashes[found] != hashes[starts]] = -1", "pass", "tests/cache/growing/test_rows.py::test_a_piece_with_rows_that_the_file_has_not_is_kept"),
    Mutant("frozenprobe/cache/growing/rows.py", "        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))", "        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] > hashes[:-1]]))", "tests/cache/growing/test_rows.py::test_a_piece_is_there_for_the_next_process"),
    Mutant("frozenprobe/cache/growing/rows.py", "        if (locations[split.usable[images]] < 0).any():\n            raise KeyError(\"rows that have not been computed\")\n", "", "tests/cache/growing/test_rows.py::test_a_row_that_is_nowhere_is_a_key_error"),
    Mutant("frozenprobe/cache/growing/rows.py", "source.piece is not None and not source.foreign]", "source.piece is not None]", "tests/cache/growing/test_rows.py::test_a_piece_with_rows_that_the_file_has_not_is_kept"),
    Mutant("frozenprobe/cache/growing/rows.py", "        if not alone:\n            self.small = []  # whoever wrote them may be reading them\n", "", "tests/cache/growing/test_rows.py::test_a_rank_joins_its_own_pieces_only"),
    Mutant("frozenprobe/cache/growing/rows.py", "                if not self._look_again():\n                    raise\n", "                raise\n", "tests/cache/growing/test_rows.py::test_rows_of_pieces_that_another_rank_has_joined_are_found_again"),
    Mutant("frozenprobe/cache/growing/rows.py", "    return min(cosine(a, b) for", "    return max(cosine(a, b) for", "tests/cache/care/test_merge.py::test_shared_rows_that_differ_in_the_shorter_tap_alone_are_refused"),
    Mutant("frozenprobe/cache/layout.py", "    if list(contents.class_names) != sorted(set(contents.class_names)):", "    if False:", "tests/cache/test_layout.py::test_parts_that_contradict_each_other_are_named"),
    Mutant("frozenprobe/cache/layout.py", "        if len(set(split.ids)) < len(split):", "        if False:", "tests/cache/test_layout.py::test_parts_that_contradict_each_other_are_named"),
    Mutant("frozenprobe/cache/layout.py", "0 <= labels.min() <= labels.max() < len(contents.class_names)", "0 <= labels.min() <= labels.max() <= len(contents.class_names)", "tests/cache/test_layout.py::test_parts_that_contradict_each_other_are_named"),
    Mutant("frozenprobe/cache/layout.py", "    if spec.fingerprint() != attributes[\"fingerprint\"]:", "    if False:", "tests/faults/test_hostile.py::test_a_forged_file_is_refused_for_what_it_does_and_without_its_weight"),
    Mutant("frozenprobe/cache/layout.py", "    if contents.train.labels is None or not contents.train.usable.all():", "    if contents.train.labels is None:", "tests/faults/test_hostile.py::test_texts_that_are_not_what_they_should_be_are_refused"),
    Mutant("frozenprobe/cache/spec.py", "json.dumps(asdict(self), sort_keys=True,", "json.dumps(asdict(self), sort_keys=False,", "tests/cache/test_spec.py::test_the_fingerprint_is_the_sha256_of_sorted_json"),
    Mutant("frozenprobe/cache/spec.py", "json.dumps(asdict(self), sort_keys", "json.dumps({k: v for k, v in asdict(self).items() if k != 'seed'}, sort_keys", "tests/cache/test_spec.py::test_every_field_changes_the_fingerprint"),
    Mutant("frozenprobe/cache/store.py", "~np.isfinite(as_rows(content, array)).all(axis=1)", "np.isnan(as_rows(content, array)).all(axis=1)", "tests/cache/test_store.py::test_a_damaged_block_is_told_with_the_images_whose_numbers_are_none"),
    Mutant("frozenprobe/cache/store.py", "            block = slice(start, start + READ_ROWS)\n", "            block = slice(start, start + READ_ROWS - 1)\n", "tests/cache/test_store.py::test_a_file_of_several_blocks_is_read_back_row_by_row"),
    Mutant("frozenprobe/cache/store.py", "        vectors[~split.usable[images]] = 0\n", "", "tests/cache/test_store.py::test_what_is_handed_over_for_an_image_without_features_is_not_stored"),
    Mutant("frozenprobe/cache/store.py", "np.repeat(np.array(self.class_names)[images.labels], len(views))", "np.tile(np.array(self.class_names)[images.labels], len(views))", "tests/cache/test_store.py::test_several_views_become_a_row_each"),
    Mutant("frozenprobe/cache/store.py", "    for start in range(0, len(split), BLOCK_ROWS):\n        images = slice(start, start + BLOCK_ROWS)", "    for start in range(0, len(split), BLOCK_ROWS):\n        images = slice(start, max(start + 1, min(start + BLOCK_ROWS, len(split) - 1)))", "tests/cache/test_store.py::test_names_labels_sample_and_views_come_back"),
    Mutant("frozenprobe/cache/store.py", "    return max(found, key=lambda features", "    return min(found, key=lambda features", "tests/cache/test_store.py::test_newest_goes_by_the_time_stored_inside"),
    Mutant("frozenprobe/cache/store.py", "        rows[~images.usable] = np.nan\n", "", "tests/cache/test_store.py::test_test_images_have_no_label_and_bad_ones_no_features"),
    # From photos to rows.
    Mutant("frozenprobe/extract/compute/pipeline.py", "            if len(waiting) > AHEAD:\n                yield fetched(*waiting.popleft(), seconds)\n", "", "tests/extract/compute/test_pipeline.py::test_a_device_hands_rows_out_while_it_computes_the_next_ones"),
    Mutant("frozenprobe/extract/compute/pipeline.py", "                if len(waiting) > AHEAD * threads:\n                    yield from waiting.popleft().result()\n", "", "tests/extract/compute/test_pipeline.py::test_threads_hand_rows_out_while_the_next_ones_are_computed"),
    Mutant("frozenprobe/extract/run.py", "            due = ended or sum", "            due = sum", "tests/extract/test_run.py::test_rows_equal_a_naive_loop"),
    Mutant("frozenprobe/extract/target.py", "        return self.state != state_of(self.out)\n", "        return False\n", "tests/extract/test_run.py::test_a_file_that_has_grown_meanwhile_loses_nothing"),
    Mutant("frozenprobe/extract/target.py", "for path in (out, plan_path(out)))", "for path in (out,))", "tests/extract/test_run.py::test_a_plan_that_appeared_meanwhile_holds"),
    # From rows to answers.
    Mutant("frozenprobe/probe/folds/deal.py", "(shares[:, classes] * (times / per_class[classes])).sum(axis=1)", "(shares[:, classes[:1]] * (times[:1] / per_class[classes[:1]])).sum(axis=1)", "tests/probe/folds/test_deal.py::test_the_order_of_the_classes_changes_no_fold"),
    Mutant("frozenprobe/probe/folds/deal.py", "(shares[:, classes] * (times / per_class[classes])).sum(axis=1)", "shares[:, classes].sum(axis=1)", "tests/probe/folds/test_deal.py::test_groups_that_span_classes_go_where_their_classes_have_the_smallest_share"),
    Mutant("frozenprobe/probe/folds/deal.py", "        shares[fold, classes] += times / per_class[classes]", "        shares[fold, classes] += 1 / per_class[classes]", "tests/probe/folds/test_deal.py::test_groups_that_span_classes_go_where_their_classes_have_the_smallest_share"),
    Mutant("frozenprobe/probe/folds/deal.py", "        shares[fold, classes] += times / per_class[classes]", "        shares[fold, classes[0]] += times[0] / per_class[classes[0]]", "tests/probe/folds/test_deal.py::test_the_order_of_the_classes_changes_no_fold"),
    Mutant("frozenprobe/probe/folds/deal.py", "        sizes[fold] += len(images)", "        sizes[fold] += 1", "tests/probe/folds/test_deal.py::test_groups_that_span_classes_go_where_their_classes_have_the_smallest_share"),
    Mutant("frozenprobe/probe/folds/deal.py", "(-len(members[cluster]), class_key", "(len(members[cluster]), class_key", "tests/probe/folds/test_deal.py::test_groups_that_span_classes_go_where_their_classes_have_the_smallest_share"),
)
# fmt: on
