//! The memory of a server whose vault was sealed: nothing in it opens the store, and nothing that went through is left.

mod keys;

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{GetSealStatusRequest, RecoverRequest, RotateKeysRequest, SealRequest},
};
use coffer_secret::SecretString;
use coffer_tests::{
    issuer::{Pod, uuid},
    leaks::{Canaries, Search},
    programs::Programs,
    server::Server,
    wait,
};

use self::keys::Keys;
use crate::vault::{ADMIN, AUDITOR, OFFICER, Vault};

const PATH: &str = "kv/memory/secret";

/// Bytes of a page of memory, and of what the kernel says about one.
const PAGE: u64 = 4_096;
const ENTRY: usize = 8;

/// Searches all memory that a process can write to.
fn search_memory(id: u32, search: &mut Search) -> Result<()> {
    let proc = Path::new("/proc").join(id.to_string());
    let (maps, memory) = (fs::read_to_string(proc.join("maps"))?, File::open(proc.join("mem"))?);
    let pages = File::open(proc.join("pagemap"))?;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))) {
        let (start, rest) = line.split_once('-').context("a line of maps has a range")?;
        let (end, _) = rest.split_once(' ').context("a line of maps has a range")?;
        let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
        let mut known = vec![0; usize::try_from((end - start) / PAGE)? * ENTRY];
        pages.read_exact_at(&mut known, start / PAGE * u64::try_from(ENTRY)?)?;
        // The highest two bits: the page is in memory, or swapped out. One that was never touched is neither.
        let there = known.chunks(ENTRY).map(|entry| entry[ENTRY - 1] >> 6 != 0).collect();
        let name = line.split_whitespace().nth(5).unwrap_or("memory");
        search.reader(name, Region { memory: &memory, start, there, at: 0, offset: 0 })?;
    }
    Ok(())
}

/// A range of a process's memory, without the pages that are not there.
struct Region<'a> {
    memory: &'a File,
    start: u64,
    there: Vec<bool>,
    /// The page to be read, and how much of it was.
    at: usize,
    offset: u64,
}

impl Read for Region<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(there) = self.there.get(self.at) {
            let place = self.start + u64::try_from(self.at).map_err(io::Error::other)? * PAGE + self.offset;
            let left = usize::try_from(PAGE - self.offset).map_err(io::Error::other)?.min(buffer.len());
            // What the process has given back meanwhile has nothing in it.
            let read = if *there { self.memory.read_at(&mut buffer[..left], place).unwrap_or(0) } else { 0 };
            self.offset += u64::try_from(read).map_err(io::Error::other)?;
            if read == 0 || self.offset == PAGE {
                (self.at, self.offset) = (self.at + 1, 0);
            }
            if read > 0 {
                return Ok(read);
            }
        }
        Ok(0)
    }
}

/// What is found in memory, by name.
fn found(server: &mut Server, secrets: &Canaries) -> Result<Vec<String>> {
    let mut search = secrets.search()?;
    search_memory(server.process()?.id(), &mut search)?;
    let mut found: Vec<_> = search.leaks().iter().map(ToString::to_string).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// Work of every kind that has to do with secrets; gives the clients, whose connections stay open.
async fn work(vault: &Vault) -> Result<Vec<Client>> {
    let canaries = vault.server.canaries();
    vault.put(PATH, "field", &canaries.fresh("a secret's value")?).await?;
    vault.put(PATH, "field", &canaries.fresh("a secret's next value")?).await?;
    vault.grant_read(PATH, "k8s:test/shop/api").await?;
    let reader = vault.workload(&Pod::new("shop", "api")?).await?;
    reader.kv_get(PATH, 0).await?;
    reader.kv_get(PATH, 1).await?;
    let mut watch = reader.watch(vec![PATH.to_owned()]).await?;
    watch.next().await?;
    let wrong = SecretString::from(canaries.fresh("a wrong password")?);
    ensure!(vault.stranger()?.login_password("", ADMIN, &wrong).await.is_err());
    let admin = vault.operator(ADMIN).await?;
    admin.keys().rotate_keys(RotateKeysRequest {}).await?;
    vault.put(PATH, "field", &canaries.fresh("a value under a new key")?).await?;
    reader.kv_get(PATH, 0).await?;
    // A quorum lets a new first operator in.
    let mut nonce = String::new();
    for share in &vault.fruits.shares {
        let request = RecoverRequest { share: share.clone(), nonce, reset: false };
        let answer = vault.stranger()?.system().recover(request).await?.into_inner();
        canaries.add("the second bootstrap credential", &answer.bootstrap_credential);
        if !answer.bootstrap_credential.is_empty() {
            break;
        }
        nonce = answer.progress.context("it tells its progress")?.nonce;
    }
    Ok(vec![reader, admin, vault.operator(OFFICER).await?, vault.operator(AUDITOR).await?])
}

/// Searches before and after sealing: before, the keys in use are there, or else the search sees nothing.
async fn is_clean_when_sealed(mut vault: Vault, keys: Keys) -> Result<()> {
    let clients = work(&vault).await?;
    let secrets = Canaries::default();
    secrets.add_all(vault.server.canaries());
    let in_use = Canaries::default();
    keys.of(&vault.server.store()).await?.note(&secrets, &in_use);
    let before = found(&mut vault.server, &in_use)?;
    println!("in use: {before:#?}");
    ensure!(before.len() >= in_use.count(), "of {} keys in use only these are found: {before:?}", in_use.count());

    vault.operator(ADMIN).await?.system().seal(SealRequest {}).await?;
    let status = vault.stranger()?.system().get_seal_status(GetSealStatusRequest {}).await?.into_inner();
    ensure!(status.sealed, "the vault is not sealed");
    drop(clients);
    let mut left = Vec::new();
    let clean = wait::until(wait::PATIENCE, "the memory to have no secret in it", || {
        left = found(&mut vault.server, &secrets)?;
        Ok(left.is_empty().then_some(()))
    });
    ensure!(clean.is_ok(), "of {} secrets these are left in memory: {left:#?}", secrets.count());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: tests/run"]
async fn a_sealed_server_has_no_secret_in_its_memory() -> Result<()> {
    // Restarted, so that it has been unsealed as servers are, and not just been made.
    let mut vault = Vault::quiet().await?;
    vault.server.kill()?;
    vault.restart().await?;
    let shares = vault.fruits.shares.clone();
    is_clean_when_sealed(vault, Keys::Shares(shares)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: tests/run"]
async fn a_new_vault_that_is_sealed_has_left_no_secret_in_memory() -> Result<()> {
    let vault = Vault::quiet().await?;
    let shares = vault.fruits.shares.clone();
    is_clean_when_sealed(vault, Keys::Shares(shares)).await
}

/// With a key file, too: the file is there to be read, and the sealed server does not have its content.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: tests/run"]
async fn a_server_that_was_unsealed_by_a_key_file_forgets_the_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, key) = (folder.path().join("key"), [uuid()?, uuid()?].concat().replace('-', ""));
    fs::write(&file, &key)?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut server = Server::new(Programs::built()?)?.with("log", "level", "info").with("seal", "kind", "static-key");
    server.set("seal", "key_file", file.display().to_string());
    server.canaries().add("the key file's text", &key);
    let mut vault = Vault::on_static(server).await?;
    vault.server.kill()?;
    vault.server.start()?;
    vault.operator(ADMIN).await?;
    is_clean_when_sealed(vault, Keys::File(key)).await
}
