//! How users end: revoked, at their time, with their owners.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::{
    CreateOperatorRequest, DeleteMountRequest, DeleteOperatorRequest, GetLeaseRequest, LeaseState, RenewLeaseRequest,
    RevokeLeaseRequest, RevokeLeasesRequest,
};
use coffer_tests::{issuer::Pod, postgres::Postgres, process::Process};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep},
};

use super::{DEADLINE, Databases, KEEPER, PATH, Target, User, issue, on_every_kind, reason};
use crate::{
    api_server::Watched,
    vault::{ADMIN, PASSWORD, Vault},
};

/// Pods that ask at once, and how often each.
const ASKERS: usize = 8;
const ROUNDS: usize = 10;

on_every_kind! {
    a_pod_gets_a_user_of_its_own_over_tls_that_can_do_what_its_role_says_and_ends_when_revoked,
    many_who_ask_at_once_get_a_user_each_and_all_of_them_end,
    a_user_lasts_as_long_as_its_lease_which_can_be_renewed_up_to_its_end,
    with_an_operator_or_at_an_admin_s_word_users_end_and_a_mount_goes_only_without_leases,
    when_a_pod_ends_its_users_end_also_where_that_happened_while_the_vault_was_down,
}

fn no_users() -> BTreeSet<String> {
    BTreeSet::new()
}

async fn a_pod_gets_a_user_of_its_own_over_tls_that_can_do_what_its_role_says_and_ends_when_revoked<T: Target>() -> Result<()> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["database.test".to_owned()])?;
    let target = T::start_with_tls(&cert.pem(), &signing_key.serialize_pem())?;
    let databases = Databases::with(Vault::quiet().await?, target, |connection| {
        connection.ca_pem = cert.pem();
        connection.server_name = "database.test".into();
    })
    .await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let (one, two) = (databases.issue(&pod).await?, databases.issue(&pod).await?);
    ensure!(one.name != two.name && one.password != two.password);
    ensure!(databases.users()? == BTreeSet::from([one.name.clone(), two.name.clone()]));
    ensure!(databases.works(&one)? && databases.works(&two)?);
    ensure!(!databases.target.erase(&one.name, &one.password)?.status.success(), "that was not granted");
    ensure!(!databases.target.lets_in(&one.name, &two.password)?, "that is another's password");

    // A session that is open when its user is revoked.
    let log = databases.vault.server.folder().join("idle.log");
    let mut open = Process::start(&mut databases.target.idle(&one.name, &one.password), &log)?;
    let end = Instant::now() + DEADLINE;
    while databases.target.idling(&one.name)? != 1 {
        ensure!(Instant::now() < end, "the session does not begin: {}", open.log()?);
        sleep(Duration::from_millis(20)).await;
    }
    pod.leases().revoke_lease(RevokeLeaseRequest { id: one.lease.id.clone() }).await?;
    ensure!(databases.users()? == BTreeSet::from([two.name.clone()]), "it is answered once it has ended");
    ensure!(databases.target.strays()? == 0 && !open.wait(DEADLINE)?.success(), "its session was ended");
    ensure!(!databases.target.lets_in(&one.name, &one.password)?);
    ensure!(databases.works(&two)?, "another's user is as it was");

    let again = pod.leases().revoke_lease(RevokeLeaseRequest { id: one.lease.id.clone() }).await;
    ensure!(reason(again) == "NOT_FOUND_OR_DENIED");
    for event in ["lease_intent", "lease_ended"] {
        ensure!(databases.vault.has_logged(&format!(r#""event":"{event}""#)).await?, "{event}");
    }
    let log = databases.target.log()?;
    ensure!(log.contains(&two.name), "the database notes who is made");
    for secret in [&one.password, &two.password] {
        ensure!(!log.contains(secret.as_str()), "a password is in the database's log");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: tests/run"]
async fn what_a_user_made_in_postgresql_is_the_vault_s_when_it_ends() -> Result<()> {
    let databases = Databases::<Postgres>::new().await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let user = databases.issue(&pod).await?;
    let made = databases.target.sql_as(&user.name, &user.password, "CREATE TABLE made (id int)")?;
    ensure!(made.status.success(), "{made:?}");
    pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await?;
    let owner = databases.target.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'made'")?;
    ensure!(owner == KEEPER, "what it made is not lost: {owner}");
    Ok(())
}

async fn many_who_ask_at_once_get_a_user_each_and_all_of_them_end<T: Target>() -> Result<()> {
    let databases = Databases::<T>::new().await?;
    let mut askers = JoinSet::new();
    for _ in 0..ASKERS {
        let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
        askers.spawn(async move {
            let mut users = Vec::new();
            for _ in 0..ROUNDS {
                let user = User::of(&issue(&pod, 0).await?)?;
                pod.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await?;
                users.push(user);
            }
            anyhow::Ok(users)
        });
    }
    let mut names = BTreeSet::new();
    while let Some(users) = askers.join_next().await {
        for user in users?? {
            databases.vault.server.canaries().add("a database password", &user.password);
            names.insert(user.name);
        }
    }
    ensure!(names.len() == ASKERS * ROUNDS, "{names:?}");
    ensure!(databases.users()?.is_empty() && databases.leases().await?.is_empty());
    // However they met, each was counted, up and down: a mount goes only when there are none by that count.
    let admin = databases.vault.operator(ADMIN).await?;
    let delete = DeleteMountRequest { name: "database".into(), id: String::new() };
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let last = databases.issue(&pod).await?;
    ensure!(reason(admin.mounts().delete_mount(delete.clone()).await) == "CONFLICT");
    pod.leases().revoke_lease(RevokeLeaseRequest { id: last.lease.id }).await?;
    admin.mounts().delete_mount(delete).await?;
    Ok(())
}

async fn a_user_lasts_as_long_as_its_lease_which_can_be_renewed_up_to_its_end<T: Target>() -> Result<()> {
    let databases = Databases::<T>::new().await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let answer = issue(&pod, 1).await?;
    ensure!(databases.users()?.len() == 1);
    databases.settles(&no_users()).await?;
    ensure!(databases.leases().await?.is_empty());
    let renewed =
        pod.leases().renew_lease(RenewLeaseRequest { id: answer.lease.context("it has one")?.id, ttl_seconds: 0 }).await;
    ensure!(reason(renewed) == "NOT_FOUND", "what has ended cannot be renewed");

    let long = issue(&pod, 1_000_000).await?.lease.context("it has one")?;
    let lasts = |lease: &coffer_client::proto::Lease| {
        let seconds = |time: &Option<prost_types::Timestamp>| time.as_ref().map_or(0, |time| time.seconds);
        seconds(&lease.expires) - seconds(&lease.issued)
    };
    ensure!((1_199..=1_200).contains(&lasts(&long)), "as long as the role allows: {}", lasts(&long));
    let user = databases.issue(&pod).await?;
    ensure!((599..=600).contains(&lasts(&user.lease)), "{}", lasts(&user.lease));
    let renew = async |ttl_seconds| {
        let answer = pod.leases().renew_lease(RenewLeaseRequest { id: user.lease.id.clone(), ttl_seconds }).await?;
        answer.into_inner().lease.context("it is shown")
    };
    let longer = renew(900).await?;
    ensure!((899..=902).contains(&lasts(&longer)), "{}", lasts(&longer));
    ensure!(lasts(&renew(10).await?) == lasts(&longer), "renewing makes nothing end sooner");
    let last = renew(1_000_000).await?;
    ensure!((1_199..=1_200).contains(&lasts(&last)) && last.expires == last.expires_at_most);
    let known = databases.target.expiry(&user.name)?;
    ensure!(known.is_some() == T::KNOWS_EXPIRY, "{known:?}");
    ensure!(known.is_none_or(|known| last.expires.as_ref().is_some_and(|time| time.seconds == known)), "the database knows, too");
    ensure!(databases.works(&user)?);

    let stranger = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    for request in [
        reason(stranger.leases().renew_lease(RenewLeaseRequest { id: user.lease.id.clone(), ttl_seconds: 0 }).await),
        reason(stranger.leases().revoke_lease(RevokeLeaseRequest { id: user.lease.id.clone() }).await),
        reason(stranger.leases().get_lease(GetLeaseRequest { id: user.lease.id.clone() }).await),
    ] {
        ensure!(request == "NOT_FOUND" || request == "NOT_FOUND_OR_DENIED", "another pod of the same account: {request}");
    }
    Ok(())
}

async fn with_an_operator_or_at_an_admin_s_word_users_end_and_a_mount_goes_only_without_leases<T: Target>() -> Result<()> {
    let databases = Databases::<T>::new().await?;
    let admin = databases.vault.operator(ADMIN).await?;
    let bob = CreateOperatorRequest { name: "bob".into(), password: PASSWORD.into(), ..Default::default() };
    admin.operators().create_operator(bob).await?;
    databases.grant("operator:bob").await?;
    let bob = databases.vault.operator("bob").await?;
    let of_bob = databases.issue(&bob).await?;
    let pod = databases.vault.workload(&Pod::new("shop", "api")?).await?;
    let mut of_pod = BTreeSet::new();
    for _ in 0..3 {
        of_pod.insert(databases.issue(&pod).await?.name);
    }
    ensure!(databases.leases().await?.len() == 4);
    let delete = async || admin.mounts().delete_mount(DeleteMountRequest { name: "database".into(), id: String::new() }).await;
    ensure!(reason(delete().await) == "CONFLICT");

    admin.operators().delete_operator(DeleteOperatorRequest { name: "bob".into(), ..Default::default() }).await?;
    databases.settles(&of_pod).await?;
    ensure!(!of_pod.contains(&of_bob.name));
    let request = RevokeLeasesRequest { path: PATH.into(), principal: "k8s:test/shop/other".into() };
    ensure!(admin.leases().revoke_leases(request).await?.into_inner().count == 0);
    let request = RevokeLeasesRequest { path: "database".into(), principal: String::new() };
    ensure!(admin.leases().revoke_leases(request).await?.into_inner().count == 3);
    databases.settles(&no_users()).await?;
    let end = Instant::now() + DEADLINE;
    while !databases.leases().await?.is_empty() {
        ensure!(Instant::now() < end, "leases of users that have ended");
        sleep(Duration::from_millis(20)).await;
    }
    delete().await?;
    Ok(())
}

async fn when_a_pod_ends_its_users_end_also_where_that_happened_while_the_vault_was_down<T: Target>() -> Result<()> {
    let Watched { vault, fake, others, token } = Watched::new().await?;
    let databases = Databases::<T>::with(vault, T::start()?, |connection| connection.plaintext = true).await?;
    databases.grant("k8s:watched/shop/api").await?;
    // The others are there so that one pod alone is no mass death.
    let mut watched = (databases, fake, (others, token));
    let issued = async |(databases, fake, _): &(Databases<T>, _, _)| {
        let (pod, client) = Watched::pod_of(&databases.vault, fake).await?;
        let user = databases.issue(&client).await?;
        anyhow::Ok((pod, user))
    };
    let (first, of_first) = issued(&watched).await?;
    let (second, of_second) = issued(&watched).await?;
    let (_, of_third) = issued(&watched).await?;
    ensure!(watched.0.users()?.len() == 3);

    watched.1.delete(&first);
    watched.0.settles(&BTreeSet::from([of_second.name.clone(), of_third.name.clone()])).await?;
    ensure!(of_first.lease.state() == LeaseState::Live);

    watched.0.vault.server.kill()?;
    watched.1.delete(&second);
    watched.0.vault.restart().await?;
    watched.0.settles(&BTreeSet::from([of_third.name.clone()])).await?;
    ensure!(watched.0.works(&of_third)?, "who lives keeps what it has");
    Ok(())
}
