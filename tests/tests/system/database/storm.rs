//! A user who is being ended and opens sessions all the while: none of them stays, and it ends all the same.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Result, ensure};
use coffer_client::proto::RevokeLeaseRequest;
use coffer_databases::{Connection, Database, Kind, Protection, connect};
use coffer_secret::SecretString;
use coffer_tests::{issuer::Pod, mariadb::MariaDb};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Duration, Instant, sleep},
};

use super::{DEADLINE, Databases, Target, User, on_every_kind};

/// Users who are ended so, one after the other.
const STORMS: usize = 4;
/// Logins that are begun at once, and never finished.
const BEGINNERS: usize = 32;
/// Who opens sessions at once, and how many each keeps.
const OPENERS: usize = 8;
const KEPT: usize = 2;

on_every_kind! {
    a_user_who_opens_sessions_as_fast_as_it_can_ends_and_has_none,
}

/// Sessions of one user, opened as fast as can be.
struct Storm {
    openers: JoinSet<Result<VecDeque<Arc<dyn Database>>>>,
    is_over: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Storm {
    fn of<T: Target>(user: &User, target: &T) -> Result<Self> {
        let (is_over, opened, refused) = (Arc::default(), Arc::default(), Arc::default());
        let mut storm = Self { openers: JoinSet::new(), is_over, opened, refused };
        let at = target.connection();
        let kind = *Kind::ALL.iter().find(|kind| kind.name() == at.kind).expect("a kind that there is");
        let port = u16::try_from(at.port)?;
        for _ in 0..OPENERS {
            let (is_over, opened, refused) = (Arc::clone(&storm.is_over), Arc::clone(&storm.opened), Arc::clone(&storm.refused));
            let (user, at) = (user.clone(), at.clone());
            storm.openers.spawn(async move {
                let mut kept = VecDeque::new();
                while !is_over.load(Ordering::Relaxed) {
                    let session = connect(Connection {
                        kind,
                        host: at.host.clone(),
                        port,
                        database: at.database.clone(),
                        user: user.name.clone(),
                        password: SecretString::copied_from(&user.password),
                        protection: Protection::None,
                        connections: 1,
                    })?;
                    if session.check().await.is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    opened.fetch_add(1, Ordering::Relaxed);
                    kept.push_back(session);
                    if kept.len() > KEPT {
                        kept.pop_front();
                    }
                }
                Ok(kept)
            });
        }
        Ok(storm)
    }
}

/// Waits until so many more were counted.
async fn goes_on(count: &AtomicUsize, more: usize) -> Result<()> {
    let (until, end) = (count.load(Ordering::Relaxed) + more, Instant::now() + DEADLINE);
    while count.load(Ordering::Relaxed) < until {
        ensure!(Instant::now() < end, "nobody tries");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn a_user_who_opens_sessions_as_fast_as_it_can_ends_and_has_none<T: Target>() -> Result<()> {
    let databases = Databases::<T>::new().await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    for _ in 0..STORMS {
        let user = databases.issue(&pod).await?;
        let mut storm = Storm::of(&user, &databases.target)?;
        goes_on(&storm.opened, OPENERS * KEPT * 2).await?;
        pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await?;
        ensure!(databases.users()?.is_empty(), "it is answered once it has ended");
        goes_on(&storm.refused, OPENERS * 4).await?;

        storm.is_over.store(true, Ordering::Relaxed);
        let mut kept = Vec::new();
        while let Some(sessions) = storm.openers.join_next().await {
            kept.extend(sessions??);
        }
        // Nobody tries any more, and the last that each opened is still held: who is connected now has a session.
        ensure!(!kept.is_empty() && databases.target.strays()? == 0);
        for session in kept {
            ensure!(session.check().await.is_err(), "a session that goes on");
        }
    }
    ensure!(databases.leases().await?.is_empty());
    Ok(())
}

/// A login in a user's name that goes no further than the name: the server wants another proof than is offered, and waits for it.
async fn begun(port: u16, user: &str) -> Result<TcpStream> {
    async fn packet(stream: &mut TcpStream) -> Result<Vec<u8>> {
        let [a, b, c, _] = stream.read_u32().await?.to_be_bytes();
        let mut body = vec![0; usize::try_from(u32::from_le_bytes([a, b, c, 0]))?];
        stream.read_exact(&mut body).await?;
        Ok(body)
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    packet(&mut stream).await?;
    // The protocol of 4.1, with plugins; a packet's length, and utf8mb4.
    let opening = [0x01, 0x82, 0x08, 0, 0, 0, 0, 1, 45];
    let body = [opening.as_slice(), &[0; 23], user.as_bytes(), &[0, 0], b"mysql_clear_password\0"].concat();
    stream.write_all(&[&[u8::try_from(body.len())?, 0, 0, 1], body.as_slice()].concat()).await?;
    let asked = packet(&mut stream).await?;
    ensure!(asked.first() == Some(&0xFE), "{}", String::from_utf8_lossy(&asked));
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB: tests/run"]
async fn a_login_that_was_begun_before_its_user_ended_is_not_finished_and_one_begun_later_keeps_no_user_from_ending() -> Result<()>
{
    let databases = Databases::<MariaDb>::new().await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let revoke = async |user: &User| pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await;
    let (port, user) = (databases.target.port(), databases.issue(&pod).await?);
    // Such a login can be finished although the account is gone: it was looked up when the name was said.
    let begun_before = begun(port, &user.name).await?;
    revoke(&user).await?;
    ensure!(databases.users()?.is_empty() && databases.target.strays()? == 0, "it can be finished");
    drop(begun_before);

    let user = databases.issue(&pod).await?;
    let (mut beginners, count) = (JoinSet::<()>::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..BEGINNERS {
        let (name, count) = (user.name.clone(), Arc::clone(&count));
        beginners.spawn(async move {
            loop {
                if let Ok(mut login) = begun(port, &name).await {
                    count.fetch_add(1, Ordering::Relaxed);
                    // Until it is ended.
                    drop(login.read(&mut [0]).await);
                }
            }
        });
    }
    goes_on(&count, BEGINNERS).await?;
    revoke(&user).await?;
    ensure!(databases.users()?.is_empty() && databases.leases().await?.is_empty());
    goes_on(&count, BEGINNERS).await?;
    beginners.shutdown().await;
    databases.settles(&BTreeSet::new()).await
}
