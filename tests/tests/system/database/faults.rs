//! The database away, the vault killed: nobody keeps a user without a lease, and no lease's user is lost.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{
    DeleteConnectionRequest, ForgetLeaseRequest, GetLeaseRequest, LeaseState, RevokeLeaseRequest, RotateConnectionRequest,
    SweepConnectionRequest,
};
use coffer_tests::{
    issuer::Pod,
    wait::{self, PATIENCE},
};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep},
};

use super::{DEADLINE, Databases, KEEPER, KEEPER_PASSWORD, Target, User, issue, on_every_kind, reason};
use crate::vault::ADMIN;

/// Kills under load, unless all are asked for.
const KILLS: usize = 4;
/// Kills of the long run.
const KILLS_LONG: usize = 200;

on_every_kind! {
    while_the_database_is_away_nobody_gets_a_user_and_who_is_to_end_does_when_it_is_back,
    while_the_database_has_no_connection_left_it_is_asked_again_and_nothing_is_lost,
    after_every_kill_the_users_in_the_database_are_those_of_live_leases,
    the_vault_s_own_password_is_made_anew_and_known_to_nobody_else_whenever_the_vault_is_killed,
    users_that_no_lease_knows_are_found_and_ended_when_somebody_says_so,
}

async fn while_the_database_is_away_nobody_gets_a_user_and_who_is_to_end_does_when_it_is_back<T: Target>() -> Result<()> {
    let mut databases = Databases::<T>::new().await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let (ends, stays) = (databases.issue(&pod).await?, databases.issue(&pod).await?);
    databases.target.stop()?;
    ensure!(reason(issue(&pod, 0).await) == "TARGET_UNAVAILABLE");
    ensure!(reason(pod.leases().revoke_lease(RevokeLeaseRequest { id: ends.lease.id.clone() }).await) == "TARGET_UNAVAILABLE");
    let shown = pod.leases().get_lease(GetLeaseRequest { id: ends.lease.id.clone() }).await?.into_inner();
    let shown = shown.lease.context("it is there")?;
    ensure!(shown.state() == LeaseState::Ending && shown.attempts >= 1, "{shown:?}");
    ensure!(shown.last_error.starts_with("the database cannot be reached"), "{shown:?}");
    let admin = databases.vault.operator(ADMIN).await?;
    ensure!(reason(admin.leases().forget_lease(ForgetLeaseRequest { id: ends.lease.id.clone() }).await) == "CONFLICT");
    let delete = DeleteConnectionRequest { path: "database/config/main".into() };
    ensure!(reason(admin.databases().delete_connection(delete).await) == "CONFLICT");

    databases.target.resume()?;
    databases.settles(&BTreeSet::from([stays.name.clone()])).await?;
    ensure!(databases.works(&stays)?);
    Ok(())
}

async fn while_the_database_has_no_connection_left_it_is_asked_again_and_nothing_is_lost<T: Target>() -> Result<()> {
    let mut databases = Databases::<T>::new().await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let (ends, stays) = (databases.issue(&pod).await?, databases.issue(&pod).await?);
    let filled = databases.target.fill()?;
    ensure!(reason(issue(&pod, 0).await) == "TARGET_UNAVAILABLE");
    ensure!(reason(pod.leases().revoke_lease(RevokeLeaseRequest { id: ends.lease.id.clone() }).await) == "TARGET_UNAVAILABLE");
    drop(filled);
    wait::until(PATIENCE, "a connection that is free", || Ok(databases.target.free().ok()))?;
    databases.settles(&BTreeSet::from([stays.name.clone()])).await?;
    ensure!(databases.works(&stays)?);
    let more = databases.issue(&pod).await?;
    ensure!(databases.works(&more)?);
    Ok(())
}

async fn after_every_kill_the_users_in_the_database_are_those_of_live_leases<T: Target>() -> Result<()> {
    let mut databases = Databases::<T>::new().await?;
    let kills = if crate::long() { KILLS_LONG } else { KILLS };
    let mut kept: Vec<User> = Vec::new();
    for kill in 0..kills {
        let mut callers = JoinSet::new();
        let load = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
            let load = Arc::clone(&load);
            callers.spawn(async move {
                let mut users = Vec::new();
                // Until the vault is gone.
                while let Ok(answer) = issue(&pod, 0).await {
                    let user = User::of(&answer)?;
                    if users.len() % 2 == 0 {
                        let revoked = pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await;
                        users.push((user, revoked.is_ok()));
                    } else {
                        users.push((user, false));
                        load.fetch_add(1, Ordering::Relaxed);
                    }
                }
                anyhow::Ok(users)
            });
        }
        let end = Instant::now() + DEADLINE;
        while load.load(Ordering::Relaxed) == 0 {
            ensure!(Instant::now() < end, "there is no load");
            sleep(Duration::from_millis(5)).await;
        }
        let moment = Duration::from_millis(37 * u64::try_from(kill % 16)?);
        sleep(moment).await;
        databases.vault.server.kill()?;
        let mut revoked = BTreeSet::new();
        while let Some(users) = callers.join_next().await {
            for (user, is_revoked) in users?? {
                databases.vault.server.canaries().add("a database password", &user.password);
                if is_revoked {
                    revoked.insert(user.name.clone());
                }
                kept.push(user);
            }
        }
        databases.vault.restart().await?;
        ensure!(databases.users()?.is_disjoint(&revoked), "a user that was told to be revoked is there");
    }
    // What was begun and not confirmed, and what was being revoked, ends by itself.
    let end = Instant::now() + DEADLINE * 3;
    loop {
        let leases = databases.leases().await?;
        let live: BTreeSet<_> =
            leases.iter().filter(|lease| lease.state() == LeaseState::Live).map(|lease| lease.id.clone()).collect();
        let users: BTreeSet<_> = kept.iter().filter(|user| live.contains(&user.lease.id)).map(|user| user.name.clone()).collect();
        // Of some nobody heard, for the vault was killed while it answered: they have a lease, and a user, all the same.
        let there = databases.users()?;
        if leases.len() == live.len() && live.len() == there.len() && there.is_superset(&users) {
            ensure!(!users.is_empty(), "there was no load");
            break;
        }
        ensure!(Instant::now() < end, "{} leases, {} live, {} users: {leases:?}", leases.len(), live.len(), users.len());
        sleep(Duration::from_millis(200)).await;
    }
    let some: Vec<_> = kept.iter().rev().take(50).collect();
    let there = databases.users()?;
    for user in some.into_iter().filter(|user| there.contains(&user.name)) {
        ensure!(databases.works(user)?, "what was answered holds");
    }
    Ok(())
}

async fn the_vault_s_own_password_is_made_anew_and_known_to_nobody_else_whenever_the_vault_is_killed<T: Target>() -> Result<()> {
    let mut databases = Databases::<T>::new().await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let rotate = RotateConnectionRequest { path: "database/config/main".into() };
    let admin = databases.vault.operator(ADMIN).await?;
    admin.databases().rotate_connection(rotate.clone()).await?;
    ensure!(!databases.target.lets_in(KEEPER, KEEPER_PASSWORD)?, "a person knew that one");
    databases.issue(&pod).await?;
    for kill in 0..6_u64 {
        let admin = databases.vault.operator(ADMIN).await?;
        let rotating = rotate.clone();
        let under_way = tokio::spawn(async move { admin.databases().rotate_connection(rotating).await.is_ok() });
        sleep(Duration::from_millis(kill * 3)).await;
        databases.vault.server.kill()?;
        drop(under_way.await);
        databases.vault.restart().await?;
        let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
        databases.issue(&pod).await.context("whichever password holds, the vault knows it")?;
    }
    Ok(())
}

async fn users_that_no_lease_knows_are_found_and_ended_when_somebody_says_so<T: Target>() -> Result<()> {
    let databases = Databases::<T>::new().await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let user = databases.issue(&pod).await?;
    // As after a restored snapshot: made by this vault, and in none of its leases. And one of another vault's.
    let (of_vault, _) = user.name.split_at(11);
    let (lost, foreign) = (format!("{of_vault}lost_0"), "cf00000000_app_0".to_owned());
    databases.target.add(&lost)?;
    databases.target.add(&foreign)?;
    let admin = databases.vault.operator(ADMIN).await?;
    let sweep = async |dry_run| {
        let request = SweepConnectionRequest { path: "database/config/main".into(), dry_run };
        anyhow::Ok(admin.databases().sweep_connection(request).await?.into_inner().users)
    };
    ensure!(sweep(true).await? == std::slice::from_ref(&lost));
    ensure!(databases.users()?.len() == 3, "they were only to be found");
    ensure!(sweep(false).await? == [lost]);
    ensure!(databases.users()? == BTreeSet::from([user.name, foreign]));
    ensure!(databases.vault.has_logged(r#""event":"database_user_swept""#).await?);
    ensure!(sweep(false).await?.is_empty());
    Ok(())
}
