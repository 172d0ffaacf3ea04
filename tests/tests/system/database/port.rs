//! What the vault asks of a database, asked without a vault.

use anyhow::{Result, ensure};
use coffer_databases::{Connection, Fault, Kind, NewUser, Protection, connect};
use coffer_secret::SecretString;

use super::{KEEPER_PASSWORD, Target, on_every_kind};

on_every_kind! {
    users_are_listed_by_how_they_begin_and_get_other_passwords_and_end_twice,
}

async fn users_are_listed_by_how_they_begin_and_get_other_passwords_and_end_twice<T: Target>() -> Result<()> {
    let target = T::start()?;
    target.set_up()?;
    let at = target.connection();
    let kind = *Kind::ALL.iter().find(|kind| kind.name() == at.kind).expect("a kind that there is");
    let database = connect(Connection {
        kind,
        host: at.host,
        port: u16::try_from(at.port)?,
        database: at.database,
        user: at.user,
        password: SecretString::copied_from(KEEPER_PASSWORD),
        protection: Protection::None,
        connections: 1,
    })?;
    database.check().await?;
    ensure!(database.kind() == kind);
    let (first, second) = ("TheFirstPasswordOfAUser1", "TheSecondPasswordOfAUser2");
    for name in ["cf_a2", "cf_a1", "cfxa3", "cf_b4"] {
        let password = SecretString::copied_from(first);
        let user = NewUser { name, password: &password, expires_secs: 4_000_000_000 };
        database.create_user(&T::creation(false), &user).await?;
        ensure!(target.works(name, first)?, "{name}");
        database.renew_user(name, 4_000_000_001).await?;
    }
    let mut listed = database.users("cf_a").await?;
    listed.sort();
    ensure!(listed == ["cf_a1", "cf_a2"], "{listed:?}");
    ensure!(database.users("cf").await?.len() == 4);
    for nobody in ["CF", "%", "cf_a1x", "f_a", "' OR ''='", "\\"] {
        ensure!(database.users(nobody).await?.is_empty(), "{nobody}");
    }

    database.set_password("cf_a1", &SecretString::copied_from(second)).await?;
    ensure!(!target.lets_in("cf_a1", first)? && target.works("cf_a1", second)? && target.works("cf_a2", first)?);
    let absent = database.set_password("cf_absent", &SecretString::copied_from(second)).await.map_err(|error| error.fault);
    ensure!(absent == Err(Fault::Statement), "{absent:?}");

    for _ in 0..2 {
        database.end_user(&[], "cf_a1").await?;
        ensure!(!target.lets_in("cf_a1", second)?);
    }
    database.end_user(&[], "cf_absent").await?;
    ensure!(database.users("cf").await?.len() == 3);
    Ok(())
}
