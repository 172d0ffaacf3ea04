//! Every key of a vault, found as an attacker would who has the shares or the key file: from what is stored.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use ciborium::Value;
use coffer_crypto::{key::Key, shamir, xaes};
use coffer_secret::SecretArray;
use coffer_store::{
    Entry, Store as _,
    sled::{SledOptions, SledStore},
};
use coffer_tests::leaks::Canaries;
use ring::hkdf;

const HEADER: &[u8] = b"coffer/header";
/// Bytes of an encrypted value in front of what is encrypted: format, algorithm, keyring, term.
const HEAD_BYTES: usize = 22;

/// What opens the seal.
pub(super) enum Keys {
    /// Shares as texts, at least as many as it takes.
    Shares(Vec<String>),
    /// A key file's text.
    File(String),
}

/// A vault's keys, by name.
pub(super) struct Found {
    /// Needed for a moment, and wiped.
    passing: Vec<(String, Vec<u8>)>,
    /// Held while the vault is at work.
    in_use: Vec<(String, Vec<u8>)>,
}

impl Found {
    pub(super) fn note(&self, all: &Canaries, in_use: &Canaries) {
        for (name, key) in self.passing.iter().chain(&self.in_use) {
            all.add(name, key);
        }
        for (name, key) in &self.in_use {
            in_use.add(name, key);
        }
    }
}

impl Keys {
    /// The keys of the vault in this store, which a server has open: a copy is read.
    pub(super) async fn of(&self, store: &Path) -> Result<Found> {
        let copy = tempfile::tempdir()?;
        copy_folder(store, copy.path())?;
        let store = SledStore::open(copy.path(), SledOptions::default())?;
        let header = store.get(HEADER).await?.context("the store has a header")?;
        let (vault, public, wrapped) = header_parts(&header)?;
        let (mut passing, mut in_use) = self.seal_secret()?;
        let secret = passing.last().context("a seal has a secret")?.1.clone();

        let wrapping = derive(&secret, "coffer/v1/root", &vault, 32)?;
        let root = open(&wrapping, &[HEADER, &public].concat(), header.version, &wrapped)?;
        passing.push(("what wraps the root key".to_owned(), wrapping));
        let wrapping = derive(&root, "coffer/v1/keyring", &vault, 32)?;
        in_use.push(("the root's key of keyrings' names".to_owned(), derive(&root, "coffer/v1/names", &vault, 64)?));
        passing.push(("the root key".to_owned(), root));
        let keyrings = store.range(b"coffer/k/", b"coffer/k0", 16).await?;
        ensure!(keyrings.len() >= 2, "the system and the tenant have a keyring each");
        for entry in keyrings {
            let keyring = open(&wrapping, &entry.key, entry.version, &entry.value)?;
            keyring_keys(&keyring, &mut passing, &mut in_use)?;
        }
        in_use.push(("what wraps the keyrings".to_owned(), wrapping));
        Ok(Found { passing, in_use })
    }

    /// What the seal's secret is made of, and, last, the secret.
    #[expect(clippy::type_complexity, reason = "two lists of names and keys")]
    fn seal_secret(&self) -> Result<(Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>)>)> {
        let mut parts = Vec::new();
        match self {
            Self::Shares(shares) => {
                let mut points = Vec::new();
                for share in shares {
                    let digits = share.strip_prefix("coffer-share-1-").context("it is a share")?;
                    let bytes = hex(digits)?;
                    let values = bytes.get(18..50).context("a share has 32 bytes of its own")?;
                    parts.push(("a share's own bytes".to_owned(), values.to_vec()));
                    points.push(shamir::Point { index: bytes[16], values: SecretArray::try_from(values)? });
                }
                let secret = shamir::combine(&points.iter().collect::<Vec<_>>())?;
                parts.push(("what the shares make".to_owned(), secret.expose().to_vec()));
            }
            Self::File(text) => parts.push(("the key file's key".to_owned(), hex(text)?)),
        }
        Ok((parts, Vec::new()))
    }
}

fn keyring_keys(keyring: &[u8], passing: &mut Vec<(String, Vec<u8>)>, in_use: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let record: Value = ciborium::from_reader(keyring)?;
    let (id, scope) = (bytes(field(&record, "id")?)?, if field(&record, "tenant")?.is_null() { "system" } else { "tenant" });
    let named = |name: &str| format!("the {scope}'s {name}");
    let names = bytes(field(&record, "names")?)?;
    in_use.push((named("key of names"), derive(&names, "coffer/v1/names", &id, 64)?));
    passing.push((named("root of the key of names"), names));
    let derivation = bytes(field(&record, "derivation")?)?;
    for label in ["sessions", "pages", "watches", "audit", "audit-values", "idempotency", "snapshots"] {
        passing.push((named(&format!("key for {label}")), derive(&derivation, &format!("coffer/v1/{label}"), &[], 32)?));
    }
    in_use.push((named("key to derive others from"), derivation));
    for term in field(&record, "terms")?.as_array().context("a keyring has terms")? {
        let number = field(term, "number")?.as_integer().context("a term has a number")?;
        in_use.push((named(&format!("key of term {}", i128::from(number))), bytes(field(term, "key")?)?));
    }
    Ok(())
}

/// `format (1) || length (4) || public || wrapped`: the vault's id, the public part, the wrapped root key.
fn header_parts(header: &Entry) -> Result<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let (head, rest) = header.value.split_first_chunk::<5>().context("the header has a head")?;
    ensure!(head[0] == 1, "the header has another format");
    let length = u32::from_be_bytes(head[1..].try_into()?).try_into()?;
    let (public, wrapped) = rest.split_at_checked(length).context("the header is cut off")?;
    let value: Value = ciborium::from_reader(public)?;
    Ok((bytes(field(&value, "vault")?)?, public.to_vec(), wrapped.to_vec()))
}

/// Decrypts a value that stands at a place.
fn open(key: &[u8], place: &[u8], version: u64, value: &[u8]) -> Result<Vec<u8>> {
    let (head, sealed) = value.split_at_checked(HEAD_BYTES).context("a value has a head")?;
    let associated = [head, &u32::try_from(place.len())?.to_be_bytes(), place, &version.to_be_bytes()].concat();
    let key = Key::from_array(SecretArray::try_from(key)?);
    Ok(xaes::open(&key, &associated, sealed)?.expose().to_vec())
}

/// HKDF-SHA256 without salt, of label, zero byte and context.
fn derive(root: &[u8], label: &str, context: &[u8], length: usize) -> Result<Vec<u8>> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, &[0; 32]).extract(root);
    let info = [label.as_bytes(), &[0], context];
    let mut key = vec![0; length];
    let derived = pseudorandom.expand(&info, Length(length)).and_then(|okm| okm.fill(&mut key));
    derived.ok().context("the length is one that HKDF gives")?;
    Ok(key)
}

fn field<'a>(record: &'a Value, name: &str) -> Result<&'a Value> {
    let entries = record.as_map().context("a record is a map")?;
    let entry = entries.iter().find(|(key, _)| key.as_text() == Some(name));
    entry.map(|(_, value)| value).with_context(|| format!("a record has {name}"))
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    value.as_bytes().cloned().context("a key is bytes")
}

fn hex(digits: &str) -> Result<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    pairs.collect()
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&copy)?;
            copy_folder(&entry.path(), &copy)?;
        } else {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}
