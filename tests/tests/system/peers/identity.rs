//! Who is who: roles, names, certificates, clusters.

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client, Identity, Options,
    proto::{
        CreateGrantRequest, CreateOperatorRequest, DeleteClusterRequest, DeleteOperatorRequest, GetOperatorRequest,
        ListOperatorsRequest, ListSessionsRequest, Operator, SetPasswordRequest, UpdateOperatorRequest,
    },
};
use coffer_secret::SecretString;
use coffer_tests::issuer::Pod;
use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber};

use super::refusal;
use crate::vault::{ADMIN, AUDITOR, CLUSTER, OFFICER, PASSWORD, Vault};

async fn everybody(client: &Client) -> Result<Vec<Operator>> {
    Ok(client.operators().list_operators(ListOperatorsRequest::default()).await?.into_inner().operators)
}

fn create(name: &str, roles: &[&str]) -> CreateOperatorRequest {
    let roles = roles.iter().map(ToString::to_string).collect();
    CreateOperatorRequest { name: name.to_owned(), roles, password: PASSWORD.to_owned(), ..Default::default() }
}

fn update(name: &str, roles: &[&str], pins: &[&str]) -> UpdateOperatorRequest {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    UpdateOperatorRequest { name: name.to_owned(), roles: texts(roles), certificate_pins: texts(pins), etag: String::new() }
}

/// No road leads to a role that one does not hold: not a new operator, not another's account, not a spelling.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_had_from_its_holders_alone() -> Result<()> {
    let vault = Vault::new().await?;
    let (admin, officer) = (vault.operator(ADMIN).await?, vault.operator(OFFICER).await?);
    let before = everybody(&admin).await?;
    let pin = Identity::generate()?.pin().to_owned();
    for (caller, own, held, other, others) in
        [(&admin, ADMIN, "admin", "officer", OFFICER), (&officer, OFFICER, "officer", "admin", ADMIN)]
    {
        let mut operators = caller.operators();
        for roles in [&[other][..], &[held, other], &["auditor", other]] {
            assert_eq!(refusal(operators.create_operator(create("mallory", roles)).await)?, "ROLE_NOT_HELD", "{roles:?}");
            assert_eq!(refusal(operators.update_operator(update(own, roles, &[])).await)?, "ROLE_NOT_HELD", "{roles:?}");
        }
        // Who could change how others log in would be whoever they are.
        assert_eq!(refusal(operators.update_operator(update(others, &[other], &[&pin])).await)?, "ROLE_NOT_HELD");
        assert_eq!(refusal(operators.update_operator(update(others, &[], &[])).await)?, "ROLE_NOT_HELD");
        let password = SetPasswordRequest { name: others.to_owned(), new_password: "x".repeat(20), ..Default::default() };
        let reason = refusal(operators.set_password(password).await)?;
        assert!(["ROLE_NOT_HELD", "NOT_FOUND_OR_DENIED"].contains(&reason.as_str()), "{reason}");
        let delete = DeleteOperatorRequest { name: others.to_owned(), etag: String::new() };
        assert_eq!(refusal(operators.delete_operator(delete).await)?, "ROLE_NOT_HELD");
        for spelling in ["Admin", " admin", "admin ", "ADMIN", "\u{430}dmin", "admin\0", "root", "", "role:admin", "bootstrap"] {
            let answer = operators.create_operator(create("mallory", &[spelling])).await;
            assert_eq!(refusal(answer)?, "INVALID_ARGUMENT", "{spelling:?}");
        }
    }
    for principal in ["role:officer".to_owned(), format!("operator:{OFFICER}")] {
        let grant = CreateGrantRequest { actions: vec!["read".into()], path: "kv/**".into(), principal, ..Default::default() };
        assert_eq!(refusal(officer.grants().create_grant(grant).await)?, "SELF_GRANT");
    }
    assert_eq!(everybody(&admin).await?, before, "something has changed");

    // Among those who hold it, and for the role that tells nothing, all this is ordinary.
    admin.operators().create_operator(create("anna", &["admin"])).await?;
    admin.operators().update_operator(update("anna", &["admin"], &[&pin])).await?;
    let password = SetPasswordRequest { name: "anna".to_owned(), new_password: "x".repeat(20), ..Default::default() };
    admin.operators().set_password(password).await?;
    officer.operators().update_operator(update(AUDITOR, &["auditor"], &[&pin])).await?;
    Ok(())
}

/// A name that is spelled in another way is another name, or none: it neither is the operator nor stands in its way.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_one_spelling() -> Result<()> {
    let vault = Vault::new().await?;
    let admin = vault.operator(ADMIN).await?;
    let before = everybody(&admin).await?;
    let stranger = vault.stranger()?;
    for name in [
        "Otto",
        "OTTO",
        "otto ",
        " otto",
        "otto\0",
        "ot\u{200b}to",
        "\u{43e}tto",
        "otto\u{301}",
        "otto.",
        "otto/",
        "default/otto",
    ] {
        let login = stranger.login_password("", name, &SecretString::copied_from(PASSWORD)).await;
        assert_eq!(login.err().context(name)?.reason(), "LOGIN_REFUSED", "{name:?}");
        let delete = DeleteOperatorRequest { name: name.to_owned(), etag: String::new() };
        let expected = if name == "otto." { "NOT_FOUND" } else { "INVALID_ARGUMENT" };
        assert_eq!(refusal(admin.operators().delete_operator(delete).await)?, expected, "{name:?}");
        if name != "otto." {
            assert_eq!(refusal(admin.operators().create_operator(create(name, &[])).await)?, expected, "{name:?}");
        }
    }
    assert_eq!(refusal(admin.operators().create_operator(create(AUDITOR, &[])).await)?, "ALREADY_EXISTS");
    assert_eq!(everybody(&admin).await?, before, "something has changed");
    // What one spelling made, it takes away.
    admin.operators().delete_operator(DeleteOperatorRequest { name: AUDITOR.to_owned(), etag: String::new() }).await?;
    let get = GetOperatorRequest { name: AUDITOR.to_owned() };
    assert_eq!(refusal(admin.operators().get_operator(get).await)?, "NOT_FOUND");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_taken_away_is_gone_from_sessions_too() -> Result<()> {
    let vault = Vault::new().await?;
    let auditor = vault.operator(AUDITOR).await?;
    auditor.sessions().list_sessions(ListSessionsRequest::default()).await?;
    vault.operator(ADMIN).await?.operators().update_operator(update(AUDITOR, &[], &[])).await?;
    assert_eq!(refusal(auditor.sessions().list_sessions(ListSessionsRequest::default()).await)?, "SESSION_INVALID");
    let again = vault.operator(AUDITOR).await?;
    assert!(again.whoami().await?.roles.is_empty());
    assert_eq!(refusal(again.sessions().list_sessions(ListSessionsRequest::default()).await)?, "NOT_FOUND_OR_DENIED");
    Ok(())
}

/// A self-signed certificate that has everything in common with another but the key.
fn lookalike() -> Result<Identity> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, AUDITOR);
    params.serial_number = Some(SerialNumber::from(7_u64));
    let certificate = params.self_signed(&key)?;
    Ok(Identity::from_pem(SecretString::from(certificate.pem() + &key.serialize_pem()))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_known_by_its_key_and_by_nothing_else() -> Result<()> {
    let vault = Vault::new().await?;
    let client = |identity: &Identity| -> Result<Client> {
        let mut options = Options::new(vault.server.url()?, identity.clone());
        options.ca = Some(vault.server.ca());
        Ok(Client::connect(options)?)
    };
    let (own, impostor) = (lookalike()?, lookalike()?);
    let admin = vault.operator(ADMIN).await?;
    admin.operators().update_operator(update(AUDITOR, &["auditor"], &[own.pin()])).await?;
    assert_eq!(client(&own)?.login_certificate("", AUDITOR).await?.principal, format!("operator:{AUDITOR}"));
    for (identity, name) in [(&impostor, AUDITOR), (&own, ADMIN), (&own, "nobody"), (&impostor, "nobody")] {
        let refused = client(identity)?.login_certificate("", name).await.err().context("it was let in")?;
        assert_eq!(refused.reason(), "LOGIN_REFUSED", "{name}");
    }
    // A session belongs to the key that logged in, not to another that may log in as well.
    admin.operators().update_operator(update(AUDITOR, &["auditor"], &[own.pin(), impostor.pin()])).await?;
    let session = client(&own)?;
    session.login_certificate("", AUDITOR).await?;
    let other = client(&impostor)?;
    other.set_session_token(session.session_token());
    assert_eq!(other.whoami().await.err().context("the session was taken")?.reason(), "SESSION_INVALID");
    Ok(())
}

/// A cluster that is registered anew under its old name and with its old keys inherits neither sessions nor grants.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_made_again_inherits_nothing() -> Result<()> {
    const PATH: &str = "kv/peers/cluster";
    let vault = Vault::new().await?;
    vault.put(PATH, "field", "value").await?;
    vault.grant_read(PATH, "k8s:test/shop/api").await?;
    let pod = Pod::new("shop", "api")?;
    let before = vault.workload(&pod).await?;
    before.kv_get(PATH, 0).await?;
    let delete = DeleteClusterRequest { name: CLUSTER.to_owned(), etag: String::new() };
    vault.operator(ADMIN).await?.clusters().delete_cluster(delete).await?;
    vault.register(CLUSTER, &vault.issuer).await?;
    assert_eq!(before.kv_get(PATH, 0).await.err().context("an old session")?.reason(), "SESSION_INVALID");
    let after = vault.workload(&pod).await?;
    assert_eq!(after.kv_get(PATH, 0).await.err().context("an old grant")?.reason(), "NOT_FOUND_OR_DENIED");
    vault.grant_read(PATH, "k8s:test/shop/api").await?;
    ensure!(after.kv_get(PATH, 0).await.is_ok(), "the new grant gives nothing");
    Ok(())
}
