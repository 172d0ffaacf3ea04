//! The connection to the database breaks, at every word that is said on it: whoever is there afterwards has a lease.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use coffer_client::proto::{LeaseState, RevokeLeaseRequest};
use coffer_tests::issuer::Pod;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::{Duration, Instant, sleep},
};

use super::{DEADLINE, Databases, Target, User, issue, on_every_kind};
use crate::vault::Vault;

/// More words than are said to make or end a user of any kind, with a login before.
const WORDS_MAX: usize = 40;
/// Bytes of a word: less than a statement that makes a user, so that what is said in one breath breaks off within, too.
const WORD_BYTES: usize = 128;

on_every_kind! {
    wherever_the_connection_breaks_the_users_in_the_database_are_those_of_live_leases,
}

/// Where a connection breaks, with what was said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// A word of the vault's does not come to the database.
    Asked,
    /// It does, and nobody waits for what is done then.
    Doing,
    /// It was done, and the answer does not come to the vault.
    Done,
}

/// What stands between vault and database.
struct Proxy {
    port: u16,
    next: Arc<Mutex<Option<(Break, usize)>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn before(database: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, next) = (listener.local_addr()?.port(), Arc::default());
        let (mut tasks, of_all) = (JoinSet::new(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((vault, _)) = listener.accept().await {
                let next = Arc::clone(&of_all);
                connections.spawn(async move {
                    let Ok(database) = TcpStream::connect(("127.0.0.1", database)).await else { return };
                    let ((from_vault, to_vault), (from_database, to_database)) = (vault.into_split(), database.into_split());
                    // Both are closed where one breaks.
                    tokio::select! {
                        () = pass(from_vault, to_database, &next, true) => {}
                        () = pass(from_database, to_vault, &next, false) => {}
                    }
                });
            }
        });
        Ok(Self { port, next, _tasks: tasks })
    }

    /// Has a connection break with its word of this number, counted from now on.
    fn break_at(&self, how: Break, word: usize) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((how, word));
    }

    /// Has none break; gives whether it came to that.
    fn mend(&self) -> bool {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take().is_none()
    }
}

/// Passes on what is said, up to the word with which the connection breaks.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, next: &Mutex<Option<(Break, usize)>>, is_vault: bool) {
    let mut word = [0; WORD_BYTES];
    while let Ok(length @ 1..) = from.read(&mut word).await {
        let breaks = {
            let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *next {
                Some((how, left)) if (*how != Break::Done) == is_vault => {
                    *left -= 1;
                    if *left == 0 { next.take().map(|(how, _)| how) } else { None }
                }
                _ => None,
            }
        };
        if matches!(breaks, Some(Break::Asked | Break::Done)) || to.write_all(&word[..length]).await.is_err() || breaks.is_some()
        {
            return;
        }
    }
}

async fn wherever_the_connection_breaks_the_users_in_the_database_are_those_of_live_leases<T: Target>() -> Result<()> {
    let (target, vault) = (T::start()?, Vault::quiet().await?);
    let proxy = Proxy::before(u16::try_from(target.connection().port)?).await?;
    let databases = Databases::with(vault, target, |connection| {
        (connection.plaintext, connection.port) = (true, proxy.port.into());
    })
    .await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let mut kept: Vec<User> = Vec::new();
    for how in [Break::Asked, Break::Doing, Break::Done] {
        let (mut made, mut ended) = (false, false);
        for word in 1..=WORDS_MAX {
            if !made {
                proxy.break_at(how, word);
                let answer = issue(&pod, 0).await;
                made = !proxy.mend();
                if let Ok(answer) = answer {
                    kept.push(User::of(&answer)?);
                }
            }
            if !ended {
                let user = databases.issue(&pod).await?;
                proxy.break_at(how, word);
                // Where it fails, it goes on in the background.
                drop(pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await);
                ended = !proxy.mend();
            }
        }
        ensure!(made && ended, "{how:?}: more is said than is tried here");
    }
    for user in &kept {
        databases.vault.server.canaries().add("a database password", &user.password);
    }
    let names: BTreeSet<_> = kept.iter().map(|user| user.name.clone()).collect();
    databases.settles(&names).await?;
    // What may have been under way still is ended once more; then nothing is to be done any more.
    let end = Instant::now() + DEADLINE * 3;
    loop {
        let leases = databases.leases().await?;
        if leases.iter().all(|lease| lease.state() == LeaseState::Live) && leases.len() == kept.len() {
            break;
        }
        ensure!(Instant::now() < end, "{leases:?}");
        sleep(Duration::from_millis(100)).await;
    }
    databases.settles(&names).await?;
    for user in &kept {
        ensure!(databases.works(user)?, "{}", user.name);
    }
    Ok(())
}
