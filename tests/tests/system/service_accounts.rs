//! Tokens of Kubernetes service accounts: made for whoever may have one, and ended for certain, whatever the API server does.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{
        CheckKubernetesRoleRequest, DeleteClusterRequest, DeleteKubernetesRoleRequest, GetClusterRequest,
        GetKubernetesRoleRequest, IssueCredentialRequest, IssueCredentialResponse, KubernetesRole, KubernetesRule, Lease,
        LeaseState, ListKubernetesRolesRequest, ListLeasesRequest, PutKubernetesRoleRequest, RenewLeaseRequest,
        RevokeLeaseRequest,
    },
};
use coffer_tests::wait::PATIENCE;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};
use tonic::Status;

use crate::{
    api_server::{WATCHED, Watched, fake::Answer},
    vault::{ADMIN, reason},
};

const PATH: &str = "kubernetes/creds/api";
const ROLE: &str = "kubernetes/roles/api";
/// Tokens that are asked for at once.
const AT_ONCE: usize = 16;
/// By then what was begun before a stop is taken away: twice as long as making a token may take, and some more.
const SETTLED: Duration = Duration::from_secs(120);

/// A vault with a mount, a role and a pod that may have a token.
struct Tokens {
    watched: Watched,
    admin: Client,
    pod: Client,
}

impl Tokens {
    async fn new() -> Result<Self> {
        let watched = Watched::new().await?;
        watched.vault.mount("kubernetes", "kubernetes").await?;
        let admin = watched.vault.operator(ADMIN).await?;
        put(&admin, role()).await?;
        watched.vault.grant_read(PATH, &format!("k8s:{WATCHED}/shop/api")).await?;
        let (_, pod) = Watched::pod_of(&watched.vault, &watched.fake).await?;
        Ok(Self { watched, admin, pod })
    }

    async fn issue(&self, ttl_seconds: u64) -> Result<IssueCredentialResponse, Status> {
        let request = IssueCredentialRequest { path: PATH.into(), ttl_seconds, ..Default::default() };
        let answer = self.pod.leases().issue_credential(request).await?.into_inner();
        self.watched.vault.server.canaries().add("a service account's token", &answer.fields["token"]);
        Ok(answer)
    }

    /// What is in the cluster, without what has the same for all: `secrets`, `serviceaccounts`, in order.
    fn kinds(&self) -> Vec<String> {
        let kind = |path: String| path.rsplit('/').nth(1).unwrap_or_default().to_owned();
        self.watched.fake.objects(|objects| objects.paths()).into_iter().map(kind).collect()
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        Ok(self.admin.leases().list_leases(ListLeasesRequest::default()).await?.into_inner().leases)
    }

    /// Waits until nothing is left in the cluster.
    async fn settles(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.kinds().is_empty() {
            ensure!(Instant::now() < deadline, "left: {:?}; leases: {:?}", self.kinds(), self.leases().await?);
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

fn role() -> KubernetesRole {
    KubernetesRole {
        cluster: WATCHED.into(),
        namespace: "shop".into(),
        service_account: "api".into(),
        default_ttl_seconds: 900,
        max_ttl_seconds: 1_800,
        ..Default::default()
    }
}

/// Roles of which accounts are made.
fn own() -> [KubernetesRole; 3] {
    let rule = KubernetesRule {
        api_groups: vec![String::new()],
        resources: vec!["pods".into()],
        verbs: vec!["get".into()],
        resource_names: vec!["one".into()],
    };
    let none = KubernetesRole { service_account: String::new(), ..role() };
    [
        KubernetesRole { rules: vec![rule], ..none.clone() },
        KubernetesRole { role: "reader".into(), ..none.clone() },
        KubernetesRole { cluster_role: "view".into(), audiences: vec!["others".into()], ..none },
    ]
}

async fn put(client: &Client, role: KubernetesRole) -> Result<(), Status> {
    let request = PutKubernetesRoleRequest { path: ROLE.into(), role: Some(role) };
    client.kubernetes().put_kubernetes_role(request).await.map(drop)
}

fn text<'a>(answer: &'a IssueCredentialResponse, field: &str) -> Result<&'a str> {
    Ok(std::str::from_utf8(answer.fields.get(field).with_context(|| format!("no {field}"))?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_what_its_role_says_and_all_that_was_made_for_it_goes_with_its_lease() -> Result<()> {
    let tokens = Tokens::new().await?;
    let roles = [role()].into_iter().chain(own());
    for (role, expected) in roles.zip([
        &["secrets"][..],
        &["rolebindings", "roles", "serviceaccounts"],
        &["rolebindings", "serviceaccounts"],
        &["rolebindings", "serviceaccounts"],
    ]) {
        put(&tokens.admin, role.clone()).await?;
        let shown = tokens.admin.kubernetes().get_kubernetes_role(GetKubernetesRoleRequest { path: ROLE.into() }).await?;
        ensure!(shown.into_inner().role == Some(role.clone()));
        let made = tokens.issue(60).await?;
        let lease = made.lease.clone().context("it has a lease")?;
        let (kinds, id) = (tokens.kinds(), lease.id.rsplit('/').next().unwrap_or_default());
        ensure!(kinds.iter().map(String::as_str).collect::<BTreeSet<_>>() == expected.iter().copied().collect(), "{kinds:?}");
        for object in tokens.watched.fake.objects(|objects| objects.all()) {
            ensure!(object["metadata"]["labels"]["coffer.dev/lease"] == id, "{object}");
            ensure!(object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with(id)), "{object}");
            ensure!(object.get("data").is_none() && object.get("stringData").is_none(), "{object}");
            if object["kind"] == "Role" {
                ensure!(
                    object["rules"][0]["resources"][0] == "pods" && object["rules"][0]["resourceNames"][0] == "one",
                    "{object}"
                );
            }
        }
        ensure!(text(&made, "namespace")? == "shop");
        let account = if role.service_account.is_empty() { "coffer-" } else { "api" };
        ensure!(text(&made, "service_account")?.starts_with(account));
        ensure!(text(&made, "token")?.contains("others") == (role.audiences == ["others"]), "{:?}", role.audiences);

        // It ends when its lease does, though the API server makes none for less than ten minutes; and never later.
        let ends = |lease: &Lease| lease.expires.context("it ends").map(|time| time.seconds);
        ensure!(ends(&lease)? - lease.issued.context("it was made")?.seconds <= 60 && lease.expires == lease.expires_at_most);
        let renew = RenewLeaseRequest { id: lease.id.clone(), ttl_seconds: 1_000 };
        let renewed = tokens.pod.leases().renew_lease(renew).await?.into_inner().lease.context("it is shown")?;
        ensure!(ends(&renewed)? == ends(&lease)?);
        tokens.pod.leases().revoke_lease(RevokeLeaseRequest { id: lease.id }).await?;
        ensure!(tokens.kinds().is_empty() && tokens.leases().await?.is_empty(), "{:?}", tokens.kinds());
    }
    // At its time it ends by itself.
    tokens.issue(1).await?;
    tokens.settles().await?;
    let path = String::from(ROLE);
    tokens.admin.kubernetes().check_kubernetes_role(CheckKubernetesRoleRequest { path: path.clone() }).await?;
    ensure!(tokens.kinds().is_empty());
    let list = ListKubernetesRolesRequest { path: "kubernetes/roles".into() };
    let names = tokens.admin.kubernetes().list_kubernetes_roles(list).await?.into_inner().names;
    ensure!(names == ["api"]);
    tokens.admin.kubernetes().delete_kubernetes_role(DeleteKubernetesRoleRequest { path }).await?;
    ensure!(reason(tokens.issue(0).await) == "NOT_FOUND");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_api_server_does_nothing_stays_that_has_no_lease() -> Result<()> {
    let tokens = Tokens::new().await?;
    let fake = &tokens.watched.fake;
    for (role, acts, expected) in own()
        .into_iter()
        .chain([role()])
        .zip([
            (Answer::Status(403), "TARGET_REFUSED"),
            (Answer::Status(503), "TARGET_UNAVAILABLE"),
            (Answer::BreaksOff, "TARGET_UNAVAILABLE"),
            (Answer::BreaksOff, "TARGET_UNAVAILABLE"),
        ])
        .map(|(role, (acts, expected))| (role, acts, expected))
    {
        put(&tokens.admin, role).await?;
        fake.act(acts);
        let asked = tokens.issue(0).await;
        let message = asked.as_ref().err().map(|status| status.message().to_owned()).unwrap_or_default();
        ensure!(reason(asked) == expected, "{acts:?}: {message}");
        ensure!(!message.contains("the cluster says no"), "{message}");
        // Whoever configures is told.
        let check = tokens.admin.kubernetes().check_kubernetes_role(CheckKubernetesRoleRequest { path: ROLE.into() }).await;
        let told = check.err().context("it fails")?.message().to_owned();
        ensure!(!matches!(acts, Answer::Status(_)) || told.contains("the cluster says no"), "{told}");
        fake.act(Answer::Right);
        tokens.settles().await?;
    }

    // A token whose end cannot be had now is ended as soon as it can be.
    let made = tokens.issue(0).await?;
    let id = made.lease.context("it has a lease")?.id;
    fake.act(Answer::Status(500));
    ensure!(reason(tokens.pod.leases().revoke_lease(RevokeLeaseRequest { id: id.clone() }).await) == "TARGET_UNAVAILABLE");
    let shown = tokens.leases().await?.into_iter().find(|lease| lease.id == id).context("it is there")?;
    ensure!(shown.last_error.contains("the cluster says no"), "{shown:?}");
    fake.act(Answer::Right);
    tokens.settles().await?;
    // What is gone already has ended.
    let made = tokens.issue(0).await?;
    fake.act(Answer::BreaksOff);
    let id = made.lease.context("it has a lease")?.id;
    ensure!(reason(tokens.pod.leases().revoke_lease(RevokeLeaseRequest { id: id.clone() }).await) == "TARGET_UNAVAILABLE");
    fake.act(Answer::Right);
    let deadline = Instant::now() + PATIENCE;
    while tokens.leases().await?.iter().any(|lease| lease.id == id) {
        ensure!(Instant::now() < deadline, "{:?}", tokens.leases().await?);
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_says_whose_tokens_and_a_cluster_with_tokens_stays() -> Result<()> {
    let tokens = Tokens::new().await?;
    let [rules, ..] = own();
    for (wrong, expected) in [
        (KubernetesRole { cluster: "absent".into(), ..role() }, "NOT_FOUND"),
        // Registered by its keys alone.
        (KubernetesRole { cluster: crate::vault::CLUSTER.into(), ..role() }, "INVALID_ARGUMENT"),
        (KubernetesRole { namespace: "shop/../kube-system".into(), ..role() }, "INVALID_ARGUMENT"),
        (KubernetesRole { service_account: "api/token".into(), ..role() }, "INVALID_ARGUMENT"),
        (KubernetesRole { service_account: String::new(), ..role() }, "INVALID_ARGUMENT"),
        (KubernetesRole { service_account: "api".into(), ..rules.clone() }, "INVALID_ARGUMENT"),
        (KubernetesRole { cluster_role: "view".into(), ..rules }, "INVALID_ARGUMENT"),
        (KubernetesRole { default_ttl_seconds: 3_600, ..role() }, "INVALID_ARGUMENT"),
        (KubernetesRole { audiences: vec!["a".into(); 9], ..role() }, "LIMIT_EXCEEDED"),
    ] {
        ensure!(reason(put(&tokens.admin, wrong.clone()).await) == expected, "{wrong:?}");
    }
    let (_, other) = {
        let pod = coffer_tests::issuer::Pod::new("shop", "other")?;
        let client = tokens.watched.vault.workload(&pod).await?;
        (pod, client)
    };
    let request = IssueCredentialRequest { path: PATH.into(), ..Default::default() };
    ensure!(reason(other.leases().issue_credential(request).await) == "NOT_FOUND_OR_DENIED");

    let id = tokens.issue(0).await?.lease.context("it has a lease")?.id;
    let shown = tokens.admin.clusters().get_cluster(GetClusterRequest { name: WATCHED.into() }).await?.into_inner();
    let delete = DeleteClusterRequest { name: WATCHED.into(), etag: shown.cluster.context("it is shown")?.etag };
    ensure!(reason(tokens.admin.clusters().delete_cluster(delete.clone()).await) == "CONFLICT");
    tokens.admin.leases().revoke_lease(RevokeLeaseRequest { id }).await?;
    tokens.admin.clusters().delete_cluster(delete).await?;
    let shown = tokens.admin.kubernetes().get_kubernetes_role(GetKubernetesRoleRequest { path: ROLE.into() }).await?;
    ensure!(shown.into_inner().role.context("it is shown")?.cluster.is_empty(), "one of the same name would be another");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_what_is_in_the_cluster_is_that_of_live_leases() -> Result<()> {
    let mut tokens = Tokens::new().await?;
    let [rules, ..] = own();
    put(&tokens.admin, rules).await?;
    let asking: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let pod = tokens.pod.clone();
            let request = IssueCredentialRequest { path: PATH.into(), ..Default::default() };
            tokio::spawn(async move { pod.leases().issue_credential(request).await })
        })
        .collect();
    // In the middle of it: some have a role, which is neither the first nor the last that is made.
    let deadline = Instant::now() + PATIENCE;
    while tokens.kinds().iter().filter(|kind| *kind == "roles").count() < AT_ONCE / 4 {
        ensure!(Instant::now() < deadline, "{:?}", tokens.kinds());
        tokio::task::yield_now().await;
    }
    tokens.watched.vault.server.kill()?;
    for asked in asking {
        if let Ok(answer) = asked.await? {
            tokens.watched.vault.server.canaries().add("a service account's token", &answer.into_inner().fields["token"]);
        }
    }
    tokens.watched.vault.restart().await?;
    tokens.admin = tokens.watched.vault.operator(ADMIN).await?;
    let id = |lease: Lease| lease.id.rsplit('/').next().unwrap_or_default().to_owned();
    let deadline = Instant::now() + SETTLED;
    loop {
        let live: BTreeSet<_> =
            tokens.leases().await?.into_iter().filter(|lease| lease.state() == LeaseState::Live).map(id).collect();
        let of = |object: Value| object["metadata"]["labels"]["coffer.dev/lease"].as_str().unwrap_or_default().to_owned();
        let there: BTreeSet<_> = tokens.watched.fake.objects(|objects| objects.all()).into_iter().map(of).collect();
        if there == live {
            ensure!(tokens.kinds().len() == 3 * live.len(), "{:?}", tokens.kinds());
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "in the cluster: {there:?}\nlive: {live:?}");
        sleep(Duration::from_millis(100)).await;
    }
}
