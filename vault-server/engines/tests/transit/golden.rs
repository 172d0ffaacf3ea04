//! Keys, ciphertexts and signatures as earlier versions wrote them: every later version must read them.
//!
//! The file has a line for each key that is stored (its version, the key and the value, in hexadecimal), and a line `text` for
//! each text that was made with them. It is written once, by [`write`], when a format is new, and never again.

use std::{fmt::Write as _, path::PathBuf, sync::Arc};

use coffer_barrier::Store;
use coffer_engines::transit::{KeyChange, KeyKind};
use coffer_store::{Transaction, Write, memory::MemoryStore};

use crate::common::{TRANSIT, bytes, commit, create, key, name, rotate, unsealed, vault};

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden/transit-v1.txt"].iter().collect()
}

#[tokio::test]
#[ignore = "writes the golden file of a new format; run it by hand, once, with another name for the file"]
async fn write() {
    let (store, barrier) = vault().await;
    let mut lines = String::new();
    for kind in KeyKind::ALL.iter().copied() {
        let of = kind.name();
        create(&barrier, of, kind).await;
        for _ in 0..2 {
            let key = key(&barrier, of).await;
            let (_, text) = match kind {
                KeyKind::Aes256Gcm => key.encrypt(0, b"row 7", &bytes("golden")),
                KeyKind::HmacSha256 => key.hmac(0, b"golden"),
                _ => key.sign(0, b"golden"),
            }
            .unwrap();
            writeln!(lines, "text {of} {text}").unwrap();
            rotate(&barrier, of).await;
        }
        let change = KeyChange { min_decrypt: Some(1), min_encrypt: Some(2), deletable: Some(true) };
        commit(&barrier, TRANSIT.update(&barrier, &name(of), change).await).await.unwrap();
    }
    let recipient = commit(&barrier, TRANSIT.wrapping_key(&barrier).await).await.unwrap();
    writeln!(lines, "text wrapping {recipient}").unwrap();
    for entry in store.range(b"", b"", 1000).await.unwrap() {
        writeln!(lines, "{} {} {}", entry.version, hex::encode(entry.key), hex::encode(entry.value)).unwrap();
    }
    // Never over an older one.
    let mut file = std::fs::File::create_new(file()).unwrap();
    std::io::Write::write_all(&mut file, lines.as_bytes()).unwrap();
}

#[tokio::test]
async fn what_keys_of_format_1_made_is_opened() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut texts = Vec::new();
    for line in std::fs::read_to_string(file()).unwrap().lines() {
        let [first, second, third] = line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        if first == "text" {
            texts.push((second, third));
            continue;
        }
        let write = Write::Put(hex::decode(second).unwrap(), hex::decode(third).unwrap());
        for _ in 0..first.parse().unwrap() {
            store.commit(Transaction { conditions: Vec::new(), writes: vec![write.clone()] }).await.unwrap();
        }
    }
    let barrier = unsealed(store).await;
    assert_eq!(texts.len(), 2 * KeyKind::ALL.len() + 1);
    for (of, text) in texts {
        match of.as_str() {
            "wrapping" => assert_eq!(TRANSIT.wrapping_key(&barrier).await.unwrap().outcome, text),
            "aes256-gcm" => {
                assert_eq!(key(&barrier, &of).await.decrypt(b"row 7", &text).unwrap().1.expose(), b"golden", "{text}");
            }
            _ => assert!(key(&barrier, &of).await.verify(b"golden", &text).unwrap().1, "{text}"),
        }
    }
    let info = TRANSIT.info(&barrier, &name("ed25519")).await.unwrap();
    assert!((info.min_decrypt, info.min_encrypt, info.deletable, info.versions.len()) == (1, 2, true, 3));
}
