//! Stores as earlier versions wrote them: every later version must open them.
//!
//! A file in `tests/golden` holds a line for each key that is stored: its version, the key and the value, in
//! hexadecimal. Files are written once, by [`write`], when a format is new, and never again.

use std::{fmt::Write as _, path::PathBuf, sync::Arc};

use coffer_barrier::{
    Barrier, Batch, Expect, Label, RecordKey, Scope, Store,
    seal::{Header, Initialisation, SealChoice, Taken, unseal, unseal_static},
};
use coffer_store::Write;

use crate::common::{NOW, TENANT, VAULT, entries, key, memory, put, raw, secret, static_key, text};

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden", name].iter().collect()
}

/// Fills a new vault with a bit of everything.
async fn fill(barrier: &Barrier) {
    put(barrier, "kv/prod/payments", "first").await;
    put(barrier, "kv/prod/payments", "second").await;
    put(barrier, "kv/prod/p\u{e4}yments/below", "").await;
    barrier.add_term(Scope::Tenant(TENANT), NOW).await.expect("a term");
    put(barrier, "kv/prod/api", "under the second term").await;
    let mut batch = Batch::new();
    batch.put(RecordKey::new(Scope::System, ["operators", "alice"]).expect("a key"), Expect::Absent, secret("system"));
    barrier.commit(batch).await.expect("a new record");
}

async fn check(barrier: &Barrier) {
    assert_eq!(barrier.vault_id(), VAULT);
    assert_eq!(text(barrier, "kv/prod/payments").await.as_deref(), Some("second"));
    assert_eq!(text(barrier, "kv/prod/p\u{e4}yments/below").await.as_deref(), Some(""));
    assert_eq!(text(barrier, "kv/prod/api").await.as_deref(), Some("under the second term"));
    let system =
        barrier.get(&RecordKey::new(Scope::System, ["operators", "alice"]).expect("a key")).await.expect("a good record");
    assert_eq!(system.expect("a record").value.expose(), b"system");
    let children = barrier.children(&key("kv/prod")).await.expect("a good directory");
    let names: Vec<_> = children.iter().map(|child| String::from_utf8_lossy(&child.name).into_owned()).collect();
    assert_eq!(names, ["api", "payments", "p\u{e4}yments"]);
    put(barrier, "kv/prod/payments", "third").await;
    assert_eq!(text(barrier, "kv/prod/payments").await.as_deref(), Some("third"));
}

async fn dump(store: &Arc<dyn Store>, name: &str, comment: &str) {
    let mut lines = format!("{comment}\n");
    for entry in entries(store).await {
        writeln!(lines, "{} {} {}", entry.version, hex::encode(entry.key), hex::encode(entry.value)).expect("memory");
    }
    // Never over an older one.
    let mut file = std::fs::File::create_new(file(name)).expect("no such file yet");
    std::io::Write::write_all(&mut file, lines.as_bytes()).expect("a writable folder");
}

async fn load(name: &str) -> (Arc<dyn Store>, Vec<String>) {
    let store = memory();
    let lines = std::fs::read_to_string(file(name)).expect("a golden file");
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let [version, key, value] = line.split(' ').collect::<Vec<_>>().try_into().expect("three words");
        let (key, value) = (hex::decode(key).expect("a key"), hex::decode(value).expect("a value"));
        for _ in 0..version.parse().expect("a version") {
            raw(&store, vec![Write::Put(key.clone(), value.clone())]).await;
        }
    }
    let comments = lines.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned);
    (store, comments.collect())
}

#[tokio::test]
#[ignore = "writes the golden files of a new format; run it by hand, once, with another name for the files"]
async fn write() {
    let store = memory();
    let choice = SealChoice::StaticKey(static_key());
    let init = Initialisation::new(VAULT, choice, &[TENANT], NOW).unwrap();
    let barrier = init.commit(Arc::clone(&store), Batch::new()).await.unwrap().barrier;
    fill(&barrier).await;
    let sessions = hex::encode(barrier.derived(Scope::System, Label::Sessions).await.unwrap().expose());
    dump(&store, "store-v1.txt", &format!("# {sessions}")).await;

    let store = memory();
    let choice = SealChoice::Shamir { count: 3, threshold: 2, recipients: Vec::new() };
    let init = Initialisation::new(VAULT, choice, &[TENANT], NOW).unwrap();
    let made = init.commit(Arc::clone(&store), Batch::new()).await.unwrap();
    fill(&made.barrier).await;
    let shares: Vec<_> = made.shares.iter().map(|share| format!("# {}", share.expose())).collect();
    dump(&store, "store-shares-v1.txt", &shares.join("\n")).await;
}

#[tokio::test]
async fn a_store_of_format_1_with_a_static_key_opens() {
    let (store, comments) = load("store-v1.txt").await;
    let barrier = unseal_static(store, &static_key(), None).await.unwrap();
    check(&barrier).await;
    let sessions = barrier.derived(Scope::System, Label::Sessions).await.unwrap();
    assert_eq!(hex::encode(sessions.expose()), comments[0]);
}

#[tokio::test]
async fn a_store_of_format_1_with_shares_opens() {
    let (store, shares) = load("store-shares-v1.txt").await;
    let mut quorum = Header::load(&*store).await.unwrap().unwrap().quorum().unwrap();
    assert!(matches!(quorum.take("", &shares[2], NOW), Ok(Taken::More(_))));
    let nonce = quorum.progress().nonce;
    let Ok(Taken::Enough(secret)) = quorum.take(&nonce, &shares[0], NOW) else { panic!("two are enough") };
    check(&unseal(store, &secret).await.unwrap()).await;
}
