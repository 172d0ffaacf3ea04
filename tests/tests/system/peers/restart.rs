//! What was taken away is not there again after a restart, nor from a log-in to the first request.

use anyhow::{Context as _, Result};
use coffer_client::{
    Client, Identity, Options,
    proto::{
        CreateOperatorRequest, DeleteClusterRequest, DeleteGrantRequest, DeleteOperatorRequest, RevokePrincipalRequest,
        RevokeSessionRequest, SetPasswordRequest, UpdateOperatorRequest,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{
    cluster::tokens,
    issuer::{Issuer, Pod},
};

use crate::vault::{ADMIN, AUDITOR, OFFICER, PASSWORD, TOKEN_LIFETIME, Vault};

const PATH: &str = "kv/peers/restart";

/// Everything that was taken away, and is asked for again.
struct Taken {
    sessions: Vec<(&'static str, Client)>,
    reader: Client,
    twin: Issuer,
    pinned: Identity,
}

impl Taken {
    async fn from(vault: &Vault) -> Result<Self> {
        let admin = vault.operator(ADMIN).await?;
        for name in ["gone", "pinned", "changed"] {
            let request = CreateOperatorRequest { name: name.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
            admin.operators().create_operator(request).await?;
        }
        let mut sessions = Vec::new();

        let revoked = vault.operator(AUDITOR).await?;
        let id = revoked.whoami().await?.session_id;
        admin.sessions().revoke_session(RevokeSessionRequest { id }).await?;
        sessions.push(("a revoked session", revoked));

        sessions.push(("a session of an operator who is gone", vault.operator("gone").await?));
        admin.operators().delete_operator(DeleteOperatorRequest { name: "gone".to_owned(), etag: String::new() }).await?;

        sessions.push(("a session from before the password was changed", vault.operator("changed").await?));
        let name = "changed".to_owned();
        let request = SetPasswordRequest { name, new_password: "another password".to_owned(), ..Default::default() };
        admin.operators().set_password(request).await?;

        let pinned = Identity::generate()?;
        let pins =
            |pins: Vec<String>| UpdateOperatorRequest { name: "pinned".to_owned(), certificate_pins: pins, ..Default::default() };
        admin.operators().update_operator(pins(vec![pinned.pin().to_owned()])).await?;
        certificate(vault, &pinned)?.login_certificate("", "pinned").await?;
        admin.operators().update_operator(pins(Vec::new())).await?;

        let revoked = vault.workload(&Pod::new("shop", "revoked")?).await?;
        let principal = "k8s:test/shop/revoked".to_owned();
        admin.sessions().revoke_principal(RevokePrincipalRequest { principal }).await?;
        sessions.push(("a revoked workload", revoked));

        let left = vault.workload(&Pod::new("shop", "left")?).await?;
        let (token, key) = (left.session_token(), left.clone());
        left.logout().await?;
        key.set_session_token(token);
        sessions.push(("a workload that has logged out", key));

        let twin = Issuer::es256("https://twin.test")?;
        vault.register("twin", &twin).await?;
        admin.clusters().delete_cluster(DeleteClusterRequest { name: "twin".to_owned(), etag: String::new() }).await?;

        let grant = vault.grant_read(PATH, "k8s:test/shop/reader").await?;
        let reader = vault.workload(&Pod::new("shop", "reader")?).await?;
        reader.kv_get(PATH, 0).await?;
        vault.operator(OFFICER).await?.grants().delete_grant(DeleteGrantRequest { id: grant.id }).await?;
        Ok(Self { sessions, reader, twin, pinned })
    }

    async fn is_refused(&self, vault: &Vault) -> Result<()> {
        // The first request of all.
        let refused = certificate(vault, &self.pinned)?.login_certificate("", "pinned").await;
        assert_eq!(refused.err().context("a pin that was taken away")?.reason(), "LOGIN_REFUSED");
        for (name, client) in &self.sessions {
            assert_eq!(client.whoami().await.err().context(*name)?.reason(), "SESSION_INVALID", "{name}");
        }
        for name in ["gone", "changed"] {
            let refused = vault.stranger()?.login_password("", name, &SecretString::copied_from(PASSWORD)).await;
            assert_eq!(refused.err().context(name)?.reason(), "LOGIN_REFUSED", "{name}");
        }
        let token = SecretString::from(self.twin.token(&Pod::new("shop", "api")?, TOKEN_LIFETIME)?);
        tokens::note(vault.server.canaries(), token.expose());
        for cluster in ["twin", ""] {
            let refused = vault.stranger()?.login_workload("", cluster, &token).await;
            assert_eq!(refused.err().context("a cluster that is gone")?.reason(), "LOGIN_REFUSED");
        }
        assert_eq!(self.reader.kv_get(PATH, 0).await.err().context("a grant that is gone")?.reason(), "NOT_FOUND_OR_DENIED");
        let used = vault.stranger()?;
        let credential = SecretString::copied_from(&vault.fruits.bootstrap_credential);
        used.login_bootstrap(&credential).await.context("it holds for an hour")?;
        Ok(())
    }
}

fn certificate(vault: &Vault, identity: &Identity) -> Result<Client> {
    let mut options = Options::new(vault.server.url()?, identity.clone());
    options.ca = Some(vault.server.ca());
    Ok(Client::connect(options)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_away_stays_away_after_a_restart() -> Result<()> {
    let mut vault = Vault::new().await?;
    vault.put(PATH, "field", "value").await?;
    let taken = Taken::from(&vault).await?;
    taken.is_refused(&vault).await?;
    vault.server.kill()?;
    // Clients of the test go their own ways to the server's address, which stays.
    vault.restart().await?;
    taken.is_refused(&vault).await
}
