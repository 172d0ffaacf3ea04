//! Kills and full disks, in a process of its own: this test program again, with a folder to write to.

use std::{
    collections::BTreeMap,
    env,
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use coffer_store::{Condition, Store, StoreError, Transaction, Write};
use tokio::task::JoinSet;

use super::folder::{content, open, put, records, temporary};

const FOLDER: &str = "COFFER_TEST_FOLDER";
const WRITERS: u64 = 8;

/// The folder to write to, in the process that is to be killed.
fn child_folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// This test alone, in another process, behind `shell` commands.
fn child(test: &str, path: &Path, shell: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$@\""), "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(FOLDER, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// Says something to the parent, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn value(writer: u64, number: u64) -> Vec<u8> {
    let size = [10, 1_000, 5_000, 60_000][usize::try_from((writer + number) % 4).unwrap()];
    format!("{writer}-{number}|").bytes().cycle().take(size).collect()
}

/// Each writer changes two keys together, again and again, and says so when it is acknowledged.
async fn write_for_ever(path: &Path) {
    say("opening");
    let store = Arc::new(open(path).unwrap());
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let keys = [format!("{writer}/a").into_bytes(), format!("{writer}/b").into_bytes()];
            loop {
                let version = store.get(&keys[0]).await.unwrap().map_or(0, |entry| entry.version);
                let condition = match version {
                    0 => Condition::Absent(keys[0].clone()),
                    version => Condition::Version(keys[0].clone(), version),
                };
                let writes = keys.iter().map(|key| Write::Put(key.clone(), value(writer, version + 1))).collect();
                store.commit(Transaction { conditions: vec![condition], writes }).await.unwrap();
                say(&format!("acknowledged {writer} {}", version + 1));
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_nothing_that_was_acknowledged_and_halves_nothing() {
    if let Some(path) = child_folder() {
        return write_for_ever(&path).await;
    }
    let (_folder, path) = temporary();
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..20_u64 {
        // How many lines to wait for: in every fifth round it is killed while it opens.
        let lines = if round % 5 == 4 { 0 } else { RandomState::new().hash_one(round) % 200 };
        let test = "sled::crash::a_kill_loses_nothing_that_was_acknowledged_and_halves_nothing";
        let (mut child, output) = child(test, &path, "");
        let mut output = output.lines().map(Result::unwrap);
        output.by_ref().find(|line| line.ends_with("opening")).expect("the child starts");
        let mut seen = 0;
        let mut killed = false;
        loop {
            if seen >= lines && !killed {
                child.kill().unwrap();
                killed = true;
            }
            // What was said before the kill still comes.
            let Some(line) = output.next() else { break };
            let words: Vec<&str> = line.split(' ').collect();
            if let ["acknowledged", writer, version] = words[..] {
                acknowledged.insert(writer.parse().unwrap(), version.parse().unwrap());
                seen += 1;
            }
        }
        child.wait().unwrap();
        assert!(killed, "the child ended by itself");

        let store = open(&path).unwrap();
        let (entries, _) = content(&store).await.unwrap();
        for (writer, version) in &mut acknowledged {
            let [a, b] = ["a", "b"].map(|key| &entries[format!("{writer}/{key}").as_bytes()]);
            assert!(a.version >= *version, "round {round}: writer {writer} had {version}, and {} is there", a.version);
            assert!(a.version <= *version + 1, "round {round}: one transaction at most was not acknowledged");
            assert!(a.value == value(*writer, a.version), "round {round}");
            assert!(b.value == a.value && b.version == a.version && b.modified == a.modified, "round {round}: a half");
            // What was found is durable: the next round's writer goes on from there, acknowledged or not.
            *version = a.version;
        }
    }
    assert!(!acknowledged.is_empty());
    let pieces: usize = {
        let store = open(&path).unwrap();
        let (entries, _) = content(&store).await.unwrap();
        entries.values().map(|entry| entry.value.len()).filter(|len| *len > 4_096).map(|len| len.div_ceil(4_096)).sum()
    };
    assert_eq!(records(&path).get(&2).copied().unwrap_or(0), pieces, "no kill leaves pieces that belong to nothing");
}

/// Writes until it cannot, and says what it was told.
async fn write_until_full(path: &Path) {
    let store = open(path).unwrap();
    put(&store, "first", b"x").await.unwrap();
    let mut number = 0_u32;
    let error = loop {
        match put(&store, format!("{number:05}"), &vec![7; 1 << 20]).await {
            Ok(_) => say(&format!("acknowledged {number}")),
            Err(error) => break error,
        }
        number += 1;
        assert!(number < 1_000, "the disk is never full");
    };
    // The journal's file was full, or sled's, to which what the journal has is moved later.
    assert!(matches!(error, StoreError::Unknown(_) | StoreError::Unavailable(_)), "{error:?}");
    assert!(matches!(put(&store, "after", b"x").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.get(b"first").await, Err(StoreError::Unavailable(_))), "what is in memory may not be on the disk");
    assert!(matches!(store.range(b"", b"", 1).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.revision().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.changes(coffer_store::Revision(1)).await, Err(StoreError::Unavailable(_))));
    drop(store);
    say(&format!("full at {number}"));
}

#[tokio::test]
async fn after_an_error_in_writing_nothing_is_answered_and_nothing_acknowledged_is_lost() {
    if let Some(path) = child_folder() {
        return write_until_full(&path).await;
    }
    let (_folder, path) = temporary();
    let test = "sled::crash::after_an_error_in_writing_nothing_is_answered_and_nothing_acknowledged_is_lost";
    // The kernel refuses to let a file grow beyond the limit (30 or 60 MiB: shells count in different units).
    let (mut child, output) = child(test, &path, "trap '' XFSZ; ulimit -f 61440;");
    let output: Vec<String> = output.lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{output:#?}");
    let acknowledged = output.iter().filter(|line| line.contains("acknowledged ")).count();
    assert!(acknowledged > 3, "{output:#?}");
    assert!(output.contains(&format!("full at {acknowledged}")), "{output:#?}");

    let store = open(&path).unwrap();
    for number in 0..acknowledged {
        let entry = store.get(format!("{number:05}").as_bytes()).await.unwrap();
        assert!(entry.is_some_and(|entry| entry.value == vec![7; 1 << 20]), "{number}");
    }
    put(&store, "after", b"x").await.unwrap();
}
