//! An API server that answers wrongly, in part, or not at all, or that was restored from a backup: sessions of living pods
//! go on, those of dead ones end, and what looks like mass death waits for a person.

pub(crate) mod fake;
pub(crate) mod objects;

use anyhow::{Context as _, Result, ensure};
use coffer_client::{
    Client,
    proto::{
        ClusterSettings, ConfirmPodLossRequest, CreateClusterRequest, GetClusterRequest, KeySource, PodCheck, key_source::Source,
    },
};
use coffer_secret::SecretString;
use coffer_tests::{issuer::Pod, memory, wait::PATIENCE};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use self::fake::{Answer, Fake};
use crate::vault::{ADMIN, TOKEN_LIFETIME, Vault};

pub(crate) const WATCHED: &str = "watched";
const PATH: &str = "kv/watched/secret";
/// Pods that are there beside those that a test looks at: so many that one alone is no mass death.
const OTHERS: usize = 30;

/// A vault that follows the pods of a cluster.
pub(crate) struct Watched {
    pub(crate) vault: Vault,
    pub(crate) fake: Fake,
    pub(crate) others: Vec<Pod>,
    /// The folder of the vault's own token.
    pub(crate) token: TempDir,
}

impl Watched {
    pub(crate) async fn new() -> Result<Self> {
        let vault = Vault::new().await?;
        // In memory, where a pod's is: on the disk it would be found.
        let (token, token_folder) = (vault.token(&Pod::new("coffer", "coffer")?, TOKEN_LIFETIME)?, memory::folder()?);
        let token_file = token_folder.path().join("token");
        std::fs::write(&token_file, &token)?;
        let fake = Fake::start(token).await?;
        let others = (0..OTHERS).map(|_| Pod::new("shop", "other")).collect::<Result<Vec<_>>>()?;
        others.iter().for_each(|pod| fake.create(pod));
        let settings = ClusterSettings {
            issuer: vault.issuer.url().to_owned(),
            keys: Some(KeySource { source: Some(Source::Jwks(vault.issuer.jwks().to_string())) }),
            pod_check: PodCheck::Cache.into(),
            api_server: Some(fake.settings(&token_file.display().to_string())),
            ..ClusterSettings::default()
        };
        let request = CreateClusterRequest { name: WATCHED.to_owned(), settings: Some(settings), idempotency_key: String::new() };
        vault.operator(ADMIN).await?.clusters().create_cluster(request).await?;
        vault.put(PATH, "value", "watched").await?;
        vault.grant_read(PATH, &format!("k8s:{WATCHED}/shop/api")).await?;
        let watched = Self { vault, fake, others, token: token_folder };
        watched.stands("synced").await?;
        Ok(watched)
    }

    /// A pod that has come to life, and a session of it.
    async fn pod(&self) -> Result<(Pod, Client)> {
        Self::pod_of(&self.vault, &self.fake).await
    }

    /// The same, of a vault and the API server of its cluster.
    pub(crate) async fn pod_of(vault: &Vault, fake: &Fake) -> Result<(Pod, Client)> {
        let pod = Pod::new("shop", "api")?;
        fake.create(&pod);
        let client = vault.stranger()?;
        let token = SecretString::from(vault.token(&pod, TOKEN_LIFETIME)?);
        client.login_workload("", WATCHED, &token).await.context("a pod logs in")?;
        lives(&client).await?;
        Ok((pod, client))
    }

    async fn pod_cache(&self, admin: &Client) -> Result<String> {
        let answer = admin.clusters().get_cluster(GetClusterRequest { name: WATCHED.to_owned() }).await?.into_inner();
        Ok(answer.cluster.context("it is shown")?.pod_cache)
    }

    /// Waits until the copy of the pods stands like this.
    async fn stands(&self, expected: &str) -> Result<()> {
        let (admin, deadline) = (self.vault.operator(ADMIN).await?, Instant::now() + PATIENCE);
        loop {
            let found = self.pod_cache(&admin).await?;
            if found == expected {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "it is {found} and never {expected}:\n{}", self.vault.server.log()?);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until so many more lists and watches were answered.
    async fn answered(&self, more: usize) -> Result<()> {
        let (enough, deadline) = (self.fake.answered() + more, Instant::now() + PATIENCE);
        while self.fake.answered() < enough {
            ensure!(Instant::now() < deadline, "the API server is not asked any more");
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

async fn lives(client: &Client) -> Result<()> {
    client.kv_get(PATH, 0).await.context("a session of a living pod has ended")?;
    Ok(())
}

/// Waits until a session ends.
async fn ends(client: &Client) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.kv_get(PATH, 0).await {
            Ok(_) => ensure!(Instant::now() < deadline, "a session outlives its pod"),
            Err(error) => {
                ensure!(error.reason() == "SESSION_INVALID", "{error:?}");
                return Ok(());
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_api_server_answers_living_pods_keep_their_sessions_and_dead_ones_lose_them() -> Result<()> {
    const LISTS: [Answer; 6] =
        [Answer::Status(429), Answer::Status(500), Answer::Status(410), Answer::BreaksOff, Answer::Half, Answer::Closed];
    const WATCHES: [Answer; 7] = [
        Answer::Status(429),
        Answer::Status(500),
        Answer::Status(410),
        Answer::Expired,
        Answer::BreaksOff,
        Answer::Half,
        Answer::Closed,
    ];
    let watched = Watched::new().await?;
    let (_pod, living) = watched.pod().await?;
    // Lists are asked for where a watch has to begin anew.
    let lists = LISTS.map(|list| (list, Answer::Expired));
    for (list, watch) in lists.into_iter().chain(WATCHES.map(|watch| (Answer::Right, watch))) {
        let context = || format!("lists: {list:?}, watches: {watch:?}");
        let (pod, dying) = watched.pod().await.with_context(context)?;
        watched.fake.answer(list, watch);
        watched.fake.delete(&pod);
        watched.answered(2).await.with_context(context)?;
        lives(&living).await.with_context(context)?;
        watched.fake.answer(Answer::Right, Answer::Right);
        ends(&dying).await.with_context(context)?;
        lives(&living).await.with_context(context)?;
        watched.stands("synced").await.with_context(context)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_ends_nobodys_session_and_is_forgotten_with_the_next_right_one() -> Result<()> {
    let watched = Watched::new().await?;
    let (pod, living) = watched.pod().await?;
    watched.fake.answer(Answer::Nothing, Answer::Expired);
    watched.stands("confirm").await?;
    lives(&living).await?;
    watched.fake.answer(Answer::Right, Answer::Right);
    watched.stands("synced").await.context("nobody but a person ends the wait, though all pods are there again")?;
    lives(&living).await?;
    watched.fake.delete(&pod);
    ends(&living).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_that_died_while_nobody_looked_wait_for_a_person() -> Result<()> {
    let watched = Watched::new().await?;
    let (pod, dying) = watched.pod().await?;
    let (_pod, living) = watched.pod().await?;
    watched.fake.answer(Answer::Closed, Answer::Closed);
    for dead in watched.others.iter().take(OTHERS / 2).chain([&pod]) {
        watched.fake.delete(dead);
    }
    // It has forgotten what it could have told: only a list shows it.
    watched.fake.answer(Answer::Right, Answer::Expired);
    watched.stands("confirm").await?;
    lives(&dying).await?;
    lives(&living).await?;
    // News come all the same while it waits.
    watched.fake.answer(Answer::Right, Answer::Right);
    watched.answered(2).await?;
    let (new, new_session) = watched.pod().await?;
    watched.fake.delete(&new);
    ends(&new_session).await?;
    watched.stands("confirm").await?;
    let request = ConfirmPodLossRequest { name: WATCHED.to_owned() };
    let answer = watched.vault.operator(ADMIN).await?.clusters().confirm_pod_loss(request).await?.into_inner();
    ensure!(answer.pods >= 1, "{} pods are confirmed to be gone", answer.pods);
    ends(&dying).await?;
    lives(&living).await?;
    watched.stands("synced").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_restored_from_a_backup_is_followed_from_where_it_is() -> Result<()> {
    let watched = Watched::new().await?;
    let (_pod, living) = watched.pod().await?;
    let (dies_later, dying_later) = watched.pod().await?;
    let backup = watched.fake.backup();
    // In the backup a pod lives that has died since, and one is missing that lives.
    let (since, since_session) = watched.pod().await?;
    watched.fake.delete(&watched.others[0]);
    for _ in 0..200 {
        let pod = Pod::new("shop", "other")?;
        watched.fake.create(&pod);
        watched.fake.delete(&pod);
    }
    let (marker, marked) = watched.pod().await?;
    watched.fake.delete(&marker);
    ends(&marked).await?;

    watched.fake.restore(backup);
    // Kubernetes ends what its API server does not know, and so does the vault.
    ends(&since_session).await.with_context(|| format!("{} is not in the backup", since.name))?;
    lives(&living).await?;
    // The versions are below those that were seen, and news come all the same.
    watched.fake.delete(&dies_later);
    ends(&dying_later).await?;
    lives(&living).await?;
    watched.pod().await?;
    watched.stands("synced").await
}
