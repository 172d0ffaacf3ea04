//! Logs that somebody changed: nothing goes unnoticed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use crate::support::{config, copy, entries, files, key, open, record, verifier, write_log};
use coffer_audit::{
    fault::{Problem, VerifyError},
    log::{Log, LogError},
    note::VerifierKey,
    receipt::{EntryProof, ProofError, prove_consistency, prove_entry, verify_receipt},
    verify::{Report, Trust, Warning, verify, verify_with},
};
use proptest::prelude::*;
use tempfile::TempDir;

/// A whole log, and its newest checkpoint.
fn whole() -> (TempDir, String) {
    static WHOLE: LazyLock<(TempDir, String)> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let note = runtime.block_on(write_log(dir.path()));
        (dir, note)
    });
    let dir = tempfile::tempdir().unwrap();
    copy(WHOLE.0.path(), dir.path());
    (dir, WHOLE.1.clone())
}

fn check(dir: &Path) -> Result<Report, VerifyError> {
    verify(dir, Some(&verifier()))
}

/// Whether the change is noticed: an error, or a warning that a whole log does not give.
fn noticed(dir: &Path) -> bool {
    check(dir).map_or(true, |report| !report.warnings.is_empty())
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

fn segment(dir: &Path, number: usize) -> PathBuf {
    files(dir)[1 + number].clone()
}

#[test]
fn a_whole_log_holds_and_tells_what_is_in_it() {
    let (dir, note) = whole();
    let report = verify_with(dir.path(), &Trust { verifier_key: Some(&verifier()), checkpoint: Some(&note) }).unwrap();
    assert_eq!((report.entries, report.checkpoints, report.epochs.len()), (12, 3, 1));
    assert_eq!(report.warnings, []);
    assert_eq!(report.root, report.epochs[0].last_checkpoint.as_ref().unwrap().root);
    let (first, last) = report.times.unwrap();
    assert_eq!((first, last), (record(0).time, record(11).time));
    assert!(files(dir.path()).len() > 3, "there are several segments");
}

#[test]
fn without_a_key_the_log_is_only_compared_with_itself() {
    let (dir, _) = whole();
    assert_eq!(verify(dir.path(), None).unwrap().warnings, [Warning::KeyUnknown]);
    let other = verifier().replace("coffer-0", "coffer-1");
    assert!(matches!(verify(dir.path(), Some(&other)).unwrap_err().problem, Problem::KeyInvalid(_)));
    let stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert!(matches!(verify(dir.path(), Some(stranger)).unwrap_err().problem, Problem::KeyForeign));
    let wrong =
        VerifierKey::new(crate::support::origin().to_string().as_str(), *stranger.parse::<VerifierKey>().unwrap().public());
    assert!(matches!(verify(dir.path(), Some(&wrong.unwrap().to_string())).unwrap_err().problem, Problem::Key));
}

#[test]
fn a_change_of_any_byte_is_noticed() {
    let (dir, _) = whole();
    for file in files(dir.path()) {
        let bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            for flip in [0x01, bytes[at]] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                fs::write(&file, changed).unwrap();
                assert!(noticed(dir.path()), "{}: byte {at} ^ {flip:#x}", file.display());
            }
        }
        fs::write(&file, bytes).unwrap();
    }
    assert!(!noticed(dir.path()));
}

#[test]
fn a_change_of_a_signed_entry_is_an_error_for_verifier_and_writer() {
    let (dir, _) = whole();
    for number in 0..12 {
        for file in files(dir.path()) {
            let text = fs::read_to_string(&file).unwrap();
            let changed = text.replace(&format!("payments-{number}\""), &format!("payments-{}\"", number + 20));
            if changed == text {
                continue;
            }
            fs::write(&file, changed).unwrap();
            let error = check(dir.path()).unwrap_err();
            let (low, high) = if number < 5 { (0, 4) } else { (5, 11) };
            assert!(
                matches!(error.problem, Problem::Changed { first, last } if first == low && last <= high && number <= last),
                "{error}"
            );
            assert!(matches!(Log::open(config(dir.path()), key()), Err(LogError::Invalid(_))));
            fs::write(&file, text).unwrap();
        }
    }
}

#[test]
fn a_line_that_is_deleted_repeated_or_swapped_is_noticed() {
    let (dir, _) = whole();
    for file in files(dir.path()) {
        let whole = lines(&file);
        for at in 0..whole.len() {
            let mut deleted = whole.clone();
            deleted.remove(at);
            let mut repeated = whole.clone();
            repeated.insert(at, whole[at].clone());
            let mut variants = vec![deleted, repeated];
            for other in at + 1..whole.len() {
                let mut swapped = whole.clone();
                swapped.swap(at, other);
                variants.extend((swapped != whole).then_some(swapped));
            }
            for variant in variants {
                fs::write(&file, variant.concat()).unwrap();
                assert!(noticed(dir.path()), "{}: line {}\n{}", file.display(), at + 1, variant.concat());
            }
        }
        fs::write(&file, whole.concat()).unwrap();
    }
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    let (dir, _) = whole();
    let file = segment(dir.path(), 0);
    let whole = lines(&file);
    let said = |lines: Vec<String>| {
        fs::write(&file, lines.concat()).unwrap();
        let error = check(dir.path()).unwrap_err();
        assert_eq!(error.file, file);
        error.to_string().replace(&format!("{}", file.display()), "FILE")
    };
    let mut deleted = whole.clone();
    deleted.remove(2);
    assert_eq!(said(deleted), "FILE:3: entry 1 is missing: entry 2 stands in its place");
    let mut swapped = whole.clone();
    swapped.swap(1, 2);
    assert_eq!(said(swapped), "FILE:2: entry 1 stands where entry 0 belongs: entries were reordered or repeated");
    let mut changed = whole.clone();
    changed[2] = changed[2].replace("\"ok\"", "\"denied\"");
    assert_eq!(said(changed), "FILE:2: the entries 0 to 3 are not those that were signed: at least one of them was changed");
    let mut garbage = whole;
    garbage[2] = "garbage\n".into();
    assert_eq!(said(garbage), "FILE:3: the line is not an entry of a log: it was changed");
}

#[test]
fn a_log_that_was_cut_off_anywhere_is_noticed() {
    let (dir, _) = whole();
    for file in files(dir.path()) {
        let bytes = fs::read(&file).unwrap();
        for length in 0..bytes.len() {
            fs::write(&file, &bytes[..length]).unwrap();
            assert!(noticed(dir.path()), "{}: {length}", file.display());
        }
        fs::write(&file, bytes).unwrap();
    }
    let last = files(dir.path()).pop().unwrap();
    let whole = lines(&last);
    fs::write(&last, whole[..whole.len() - 1].concat()).unwrap();
    assert!(matches!(check(dir.path()).unwrap_err().problem, Problem::CutOff { entries: 11, signed: 12 }));
    assert!(matches!(Log::open(config(dir.path()), key()), Err(LogError::Invalid(_))));
}

#[test]
fn a_missing_file_is_noticed() {
    let (dir, _) = whole();
    for file in files(dir.path()) {
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let error = check(dir.path()).unwrap_err();
        assert!(
            matches!(error.problem, Problem::FileMissing | Problem::SegmentMissing { .. } | Problem::CutOff { .. }),
            "{error}"
        );
        assert!(matches!(Log::open(config(dir.path()), key()), Err(LogError::Invalid(_))));
        fs::write(&file, bytes).unwrap();
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(check(empty.path()).unwrap_err().problem, Problem::NoLog));
}

#[test]
fn what_is_put_behind_the_end_is_noticed() {
    let (dir, _) = whole();
    for file in files(dir.path()) {
        let text = fs::read_to_string(&file).unwrap();
        let entry = lines(&segment(dir.path(), 0))[1].clone();
        let next = entry.replace("\"index\":0", "\"index\":12");
        for garbage in ["garbage\n", "garbage", "\n", "\0", "{}\n", &entry, &next, text.as_str()] {
            fs::write(&file, format!("{text}{garbage}")).unwrap();
            assert!(noticed(dir.path()), "{}: {garbage}", file.display());
        }
        fs::write(&file, text).unwrap();
    }
}

#[test]
fn an_older_copy_holds_by_itself_but_not_against_a_newer_checkpoint() {
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let note = runtime.block_on(async {
        let note = write_log(dir.path()).await;
        copy(dir.path(), old.path());
        let (log, _) = open(dir.path());
        log.append(record(12)).await.unwrap();
        let newer = log.checkpoint_now(9).await.unwrap().note;
        log.close().await;
        assert_ne!(note, newer);
        newer
    });
    assert_eq!(check(old.path()).unwrap().warnings, []);
    let error = verify_with(old.path(), &Trust { verifier_key: Some(&verifier()), checkpoint: Some(&note) }).unwrap_err();
    assert!(matches!(error.problem, Problem::CutOff { entries: 12, signed: 13 }), "{error}");
    verify_with(dir.path(), &Trust { verifier_key: Some(&verifier()), checkpoint: Some(&note) }).unwrap();
    let forged = note.replace("store-revision 9", "store-revision 8");
    let error = verify_with(dir.path(), &Trust { verifier_key: Some(&verifier()), checkpoint: Some(&forged) }).unwrap_err();
    assert!(matches!(error.problem, Problem::Known(_)), "{error}");
}

#[test]
fn checkpoints_in_another_order_are_noticed() {
    let (dir, _) = whole();
    let file = files(dir.path())[0].clone();
    let whole = lines(&file);
    let (header, notes) = whole.split_at(1);
    let notes: Vec<_> = notes.chunks(7).map(<[String]>::concat).collect();
    assert_eq!(notes.len(), 3);
    fs::write(&file, [header.concat(), notes[1].clone(), notes[0].clone(), notes[2].clone()].concat()).unwrap();
    assert!(matches!(check(dir.path()).unwrap_err().problem, Problem::CheckpointOrder));
    fs::write(&file, [header.concat(), notes[0].clone(), notes[2].clone()].concat()).unwrap();
    assert_eq!(check(dir.path()).unwrap().checkpoints, 2, "one less shows less, but all of it is true");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (dir, _) = whole();
    for file in files(dir.path()) {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen("\"version\":1", "\"version\":2", 1)).unwrap();
        assert!(matches!(check(dir.path()).unwrap_err().problem, Problem::Newer(2)), "{}", file.display());
        let Err(LogError::Invalid(error)) = Log::open(config(dir.path()), key()) else { panic!("opened") };
        assert!(matches!(error.problem, Problem::Newer(2)), "{error}");
        fs::write(&file, text).unwrap();
    }
}

#[test]
fn receipts_prove_their_entry_away_from_the_log() {
    let (dir, _) = whole();
    let key: VerifierKey = verifier().parse().unwrap();
    for index in 0..12 {
        let proof = verify_receipt(dir.path(), &key, index).unwrap();
        let read: EntryProof = proof.to_string().parse().unwrap();
        assert_eq!(read, proof);
        assert_eq!(read.verify(&key).unwrap().0.record, record(index));
        let changed = EntryProof { line: proof.line.replace("\"ok\"", "\"denied\""), ..proof.clone() };
        assert_eq!(changed.verify(&key), Err(ProofError::Differs));
        let moved = EntryProof { index: (index + 1) % 12, ..proof.clone() };
        assert_eq!(moved.verify(&key), Err(ProofError::Differs));
        let forged = EntryProof { checkpoint: proof.checkpoint.replace("\n12\n", "\n13\n"), ..proof };
        assert!(matches!(forged.verify(&key), Err(ProofError::Checkpoint(_))));
    }
    assert_eq!(prove_entry(dir.path(), 1, 12).unwrap(), None);
    assert!(matches!(verify_receipt(dir.path(), &key, 12).unwrap_err().problem, Problem::EntryUnsigned(12)));
}

#[test]
fn a_log_proves_that_it_only_grew() {
    let (dir, note) = whole();
    let (log, _) = open(dir.path());
    let new: coffer_audit::checkpoint::Checkpoint =
        note.split_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap().parse().unwrap();
    for old in 0..=12 {
        let proof = prove_consistency(dir.path(), 1, old, 12).unwrap().unwrap();
        let root = log.root_at(old).unwrap().unwrap();
        assert!(coffer_audit::merkle::verify_consistency((old, &root), (12, &new.root), &proof), "{old}");
    }
    assert_eq!(prove_consistency(dir.path(), 1, 5, 13).unwrap(), None);
    assert_eq!(entries(&log).len(), 12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn no_mutation_of_bytes_goes_unnoticed(
        pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        cut in 0_usize..40,
        put in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (dir, _) = whole();
        let all = files(dir.path());
        let file = &all[pick.index(all.len())];
        let mut bytes = fs::read(file).unwrap();
        let whole = bytes.clone();
        let begin = at.index(bytes.len());
        let end = (begin + cut).min(bytes.len());
        bytes.splice(begin..end, put);
        fs::write(file, &bytes).unwrap();
        prop_assert!(bytes == whole || noticed(dir.path()));
    }
}
