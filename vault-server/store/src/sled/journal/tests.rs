use std::{fs, path::Path};

use super::{FILES, Frame, GROWTH_BYTES, Head, Journal, OpenError, Revision, Stored, Written, create, read};

/// What the write of a revision is here: every third one deletes.
fn written(revision: u64) -> (Vec<u8>, Written) {
    let value = vec![u8::try_from(revision % 251).unwrap(); usize::try_from(revision * 97 % 6_000).unwrap()];
    let value =
        (!revision.is_multiple_of(3)).then(|| (Head::new(revision, Revision(revision), 0, &value).unwrap(), value.into()));
    (format!("key-{revision}").into_bytes(), Written { revision: Revision(revision), value, stored: Stored::Unknown })
}

fn append(journal: &mut Journal, revisions: std::ops::RangeInclusive<u64>) {
    let mut frame = Frame::new(Revision(*revisions.start()));
    for revision in revisions.clone() {
        let (key, write) = written(revision);
        frame.push(&key, &write);
    }
    journal.append(frame, Revision(*revisions.end())).unwrap();
}

/// Checks that what is read are the writes after `stored`, up to `newest`.
fn assert_reads(path: &Path, stored: u64, newest: u64) {
    let (writes, found) = read(path, Revision(stored)).unwrap();
    assert_eq!(found, Revision(newest));
    assert_eq!(writes.len() as u64, newest - stored);
    for (revision, (key, write)) in (stored + 1..).zip(writes) {
        let (expected_key, expected) = written(revision);
        assert_eq!((key, write.revision, write.value), (expected_key, expected.revision, expected.value));
    }
}

fn journal() -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path()).unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    (folder, journal)
}

#[test]
fn what_was_appended_is_read_again_as_far_as_it_is_not_stored() {
    let (folder, mut journal) = journal();
    assert_reads(folder.path(), 5, 5);
    append(&mut journal, 1..=1);
    append(&mut journal, 2..=40);
    assert_reads(folder.path(), 0, 40);
    assert_reads(folder.path(), 1, 40);
    assert_reads(folder.path(), 40, 40);
    journal.turn();
    append(&mut journal, 41..=43);
    assert_reads(folder.path(), 0, 43);
    assert_reads(folder.path(), 40, 43);
}

#[test]
fn frames_of_an_earlier_use_are_passed_over() {
    let (folder, mut journal) = journal();
    (1..=20).for_each(|revision| append(&mut journal, revision..=revision));
    journal.turn();
    (21..=30).for_each(|revision| append(&mut journal, revision..=revision));
    journal.turn();
    (31..=33).for_each(|revision| append(&mut journal, revision..=revision));
    assert_reads(folder.path(), 20, 33);
    assert_reads(folder.path(), 30, 33);
}

#[test]
fn a_frame_that_was_cut_off_is_left_out_and_nothing_else() {
    let (folder, mut journal) = journal();
    append(&mut journal, 1..=2);
    let whole = usize::try_from(journal.bytes()).unwrap();
    append(&mut journal, 3..=4);
    let file = folder.path().join(FILES[0]);
    let bytes = fs::read(&file).unwrap();
    let end = usize::try_from(journal.bytes()).unwrap();
    for cut in (whole..end - 8).step_by(13) {
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        fs::write(&file, &torn).unwrap();
        let newest = if torn == bytes { 4 } else { 2 };
        assert_reads(folder.path(), 0, newest);
        fs::write(&file, &torn[..cut]).unwrap();
        assert_eq!(read(folder.path(), Revision(0)).unwrap().1, Revision(newest), "cut at {cut}");
    }
}

#[test]
fn damage_before_a_whole_frame_is_noticed() {
    let (folder, mut journal) = journal();
    append(&mut journal, 1..=2);
    append(&mut journal, 3..=3);
    let damaged = usize::try_from(journal.bytes()).unwrap() - 8;
    append(&mut journal, 4..=5);
    let file = folder.path().join(FILES[0]);
    let bytes = fs::read(&file).unwrap();
    for offset in (0..damaged).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[offset] ^= 4;
        fs::write(&file, &flipped).unwrap();
        assert!(matches!(read(folder.path(), Revision(0)), Err(OpenError::Corrupt(_))), "at {offset}");
    }
}

#[test]
fn damage_at_the_end_of_the_file_before_is_noticed() {
    let (folder, mut journal) = journal();
    append(&mut journal, 1..=2);
    append(&mut journal, 3..=4);
    let end = usize::try_from(journal.bytes()).unwrap();
    journal.turn();
    append(&mut journal, 5..=5);
    let file = folder.path().join(FILES[0]);
    let mut bytes = fs::read(&file).unwrap();
    bytes[end - 20] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert!(matches!(read(folder.path(), Revision(0)), Err(OpenError::Corrupt(_))));
    assert_reads(folder.path(), 4, 5);
    fs::remove_file(&file).unwrap();
    assert!(matches!(read(folder.path(), Revision(4)), Err(OpenError::Corrupt(_))), "a missing file");
}

#[test]
fn a_file_grows_by_steps_and_does_not_shrink() {
    let (folder, mut journal) = journal();
    let length = || fs::metadata(folder.path().join(FILES[0])).unwrap().len();
    append(&mut journal, 1..=1);
    assert_eq!(length(), GROWTH_BYTES);
    let mut revision = 1;
    while journal.bytes() <= GROWTH_BYTES {
        revision += 1;
        append(&mut journal, revision..=revision);
    }
    assert_eq!(length(), 2 * GROWTH_BYTES);
    journal.turn();
    journal.turn();
    append(&mut journal, revision + 1..=revision + 1);
    assert_eq!(length(), 2 * GROWTH_BYTES);
}
