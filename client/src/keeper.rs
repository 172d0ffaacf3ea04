//! Keeps a workload logged in.

use std::{
    collections::BTreeMap,
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use coffer_secret::SecretString;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{Backoff, Client, Credential, Lease, ResumeToken, Secret, Session, Watch, error::Error, random::random_bytes};

/// Bytes in a service-account token.
pub const SERVICE_ACCOUNT_TOKEN_BYTES_MAX: usize = 8_192;
/// Attempts of one call, the first included.
const ATTEMPTS_MAX: u32 = 4;
/// The first wait between attempts; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest wait between attempts.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A session is taken to last no longer than this, whatever is said.
const LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// A session is renewed no sooner than this, however wrong the clocks are.
const RENEW_AFTER_MIN: Duration = Duration::from_secs(10);
/// How long a renewal that failed waits for the next, while the old session holds.
const RENEW_AGAIN: Duration = Duration::from_secs(15);

/// How a workload logs in.
#[derive(Debug, Clone)]
pub struct WorkloadLogin {
    /// The tenant; empty means `default`.
    pub tenant: String,
    /// The cluster's name; empty where one cluster alone has the token's issuer.
    pub cluster: String,
    /// The projected service-account token. Read for every login: the kubelet renews it.
    pub token_file: PathBuf,
}

/// A client that logs a workload in when needed: before the first call, after two thirds of the session's life, and
/// when the vault says that the session does not hold. Clones share the session.
#[derive(Clone)]
pub struct SessionKeeper {
    client: Client,
    login: Arc<WorkloadLogin>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    session: Option<Kept>,
    /// Counts logins, so that many calls that fail with one session cause one login.
    logins: u64,
}

struct Kept {
    session: Session,
    renew_at: Instant,
    ends_at: Instant,
}

impl SessionKeeper {
    /// Keeps `client` logged in.
    #[must_use]
    pub fn new(client: Client, login: WorkloadLogin) -> Self {
        Self { client, login: Arc::new(login), state: Arc::default() }
    }

    /// The client. Calls made on it directly are neither logged in nor tried again.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Logs in if there is no session, or it is time for a new one; gives the session.
    ///
    /// # Errors
    /// As [`Client::login_workload`], and [`Error::Config`] where the token file cannot be read. A renewal that fails
    /// while the old session holds is no error.
    pub async fn ensure(&self) -> Result<Session, Error> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(kept) = &state.session
            && now < kept.renew_at
        {
            return Ok(kept.session.clone());
        }
        match self.log_in(&mut state).await {
            Ok(session) => Ok(session),
            Err(error) => match &mut state.session {
                Some(kept) if error.retryable() && Instant::now() < kept.ends_at => {
                    kept.renew_at = Instant::now() + RENEW_AGAIN;
                    Ok(kept.session.clone())
                }
                _ => Err(error),
            },
        }
    }

    /// Forgets the session, so that the next call logs in: for a session that the vault has ended.
    pub async fn forget(&self) {
        self.state.lock().await.session = None;
        self.client.set_session_token(None);
    }

    /// When the session is due to be renewed; none without a session.
    pub async fn renew_at(&self) -> Option<Instant> {
        self.state.lock().await.session.as_ref().map(|kept| kept.renew_at)
    }

    /// Makes a call that may be repeated: logged in, once more after a session that did not hold, and up to four times
    /// in all with growing waits where the vault says that trying again may help.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn call<T, C, F>(&self, mut call: C) -> Result<T, Error>
    where
        C: FnMut(Client) -> F,
        F: Future<Output = Result<T, Error>>,
    {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        let mut logged_in_again = false;
        let mut attempt = 1;
        loop {
            let error = match self.attempt(&mut call).await {
                Ok(answer) => return Ok(answer),
                Err((error, logins)) if error.session_invalid() && !logged_in_again => {
                    logged_in_again = true;
                    self.forget_login(logins).await;
                    continue;
                }
                Err((error, _)) => error,
            };
            if !error.retryable() || attempt == ATTEMPTS_MAX {
                return Err(error);
            }
            attempt += 1;
            sleep(backoff.wait()).await;
        }
    }

    /// Reads a secret: the version asked for, or 0 for the newest.
    ///
    /// # Errors
    /// As [`Client::kv_get`] and [`SessionKeeper::ensure`].
    pub async fn kv_get(&self, path: &str, version: u64) -> Result<Secret, Error> {
        self.call(async |client: Client| client.kv_get(path, version).await).await
    }

    /// Has a credential made: one, however often the call is tried.
    ///
    /// # Errors
    /// As [`Client::issue_credential`] and [`SessionKeeper::ensure`].
    pub async fn issue_credential(
        &self,
        path: &str,
        ttl_secs: u64,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Credential, Error> {
        let key = random_bytes::<16>().ok_or_else(|| Error::config("the system has no random numbers".to_owned()))?;
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = key.as_str();
        self.call(async |client: Client| client.issue_credential(path, ttl_secs, parameters, key).await).await
    }

    /// Says that this version of a credential is in use, and none before it.
    ///
    /// # Errors
    /// As [`Client::acknowledge_credential`] and [`SessionKeeper::ensure`].
    pub async fn acknowledge_credential(&self, path: &str, version: u64) -> Result<(), Error> {
        self.call(async |client: Client| client.acknowledge_credential(path, version).await).await
    }

    /// Lets a credential last longer.
    ///
    /// # Errors
    /// As [`Client::renew_lease`] and [`SessionKeeper::ensure`].
    pub async fn renew_lease(&self, id: &str, ttl_secs: u64) -> Result<Lease, Error> {
        self.call(async |client: Client| client.renew_lease(id, ttl_secs).await).await
    }

    /// Ends a credential.
    ///
    /// # Errors
    /// As [`Client::revoke_lease`] and [`SessionKeeper::ensure`].
    pub async fn revoke_lease(&self, id: &str) -> Result<(), Error> {
        self.call(async |client: Client| client.revoke_lease(id).await).await
    }

    /// Follows secrets.
    ///
    /// # Errors
    /// As [`Client::watch`] and [`SessionKeeper::ensure`].
    pub async fn watch(&self, paths: &[String]) -> Result<Watch, Error> {
        self.watch_from(paths, None).await
    }

    /// Follows secrets from where an earlier watch of them came to.
    ///
    /// # Errors
    /// As [`Client::watch_from`] and [`SessionKeeper::ensure`].
    pub async fn watch_from(&self, paths: &[String], from: Option<&ResumeToken>) -> Result<Watch, Error> {
        self.call(async |client: Client| client.watch_from(paths.to_vec(), from).await).await
    }

    async fn attempt<T, C, F>(&self, call: &mut C) -> Result<T, (Error, u64)>
    where
        C: FnMut(Client) -> F,
        F: Future<Output = Result<T, Error>>,
    {
        self.ensure().await.map_err(|error| (error, 0))?;
        let logins = self.state.lock().await.logins;
        call(self.client.clone()).await.map_err(|error| (error, logins))
    }

    async fn forget_login(&self, logins: u64) {
        let mut state = self.state.lock().await;
        if state.logins == logins {
            state.session = None;
        }
    }

    async fn log_in(&self, state: &mut State) -> Result<Session, Error> {
        let token = read_token(&self.login.token_file)?;
        let session = self.client.login_workload(&self.login.tenant, &self.login.cluster, &token).await?;
        let life = session.expires.duration_since(wall_clock()).unwrap_or_default().min(LIFE_MAX);
        let now = Instant::now();
        state.session = Some(Kept { session: session.clone(), renew_at: now + renew_after(life), ends_at: now + life });
        state.logins += 1;
        Ok(session)
    }
}

impl fmt::Debug for SessionKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeeper").field("login", &self.login).finish_non_exhaustive()
    }
}

/// How much of a session's life passes before it is renewed.
fn renew_after(life: Duration) -> Duration {
    (life / 3).saturating_mul(2).max(RENEW_AFTER_MIN)
}

/// Reads a projected token.
fn read_token(path: &Path) -> Result<SecretString, Error> {
    let refuse = |why: String| Error::config(format!("the service-account token {} {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let mut text = String::with_capacity(SERVICE_ACCOUNT_TOKEN_BYTES_MAX + 1);
    let read = file.take(SERVICE_ACCOUNT_TOKEN_BYTES_MAX as u64 + 1).read_to_string(&mut text);
    let text = SecretString::from(text);
    read.map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if text.expose().len() > SERVICE_ACCOUNT_TOKEN_BYTES_MAX {
        return Err(refuse(format!("is larger than {SERVICE_ACCOUNT_TOKEN_BYTES_MAX} bytes")));
    }
    let token = text.expose().trim();
    match token.is_empty() {
        true => Err(refuse("is empty".to_owned())),
        false => Ok(SecretString::from(token.to_owned())),
    }
}

#[expect(clippy::disallowed_methods, reason = "the session's end is told as a time of day; errors cost a login only")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn token(content: &[u8]) -> Result<SecretString, Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        read_token(file.path())
    }

    #[test]
    fn a_session_is_renewed_after_two_thirds_of_its_life_and_never_at_once() {
        assert_eq!(renew_after(Duration::from_secs(3_600)), Duration::from_secs(2_400));
        assert_eq!(renew_after(Duration::ZERO), RENEW_AFTER_MIN);
        assert_eq!(renew_after(LIFE_MAX), Duration::from_secs(16 * 60 * 60));
    }

    #[test]
    fn a_token_is_read_without_the_space_around_it() {
        assert_eq!(token(b"a.b.c\n").unwrap().expose(), "a.b.c");
    }

    #[test]
    fn a_token_at_the_limit_is_read_and_one_past_it_is_refused() {
        let limit = SERVICE_ACCOUNT_TOKEN_BYTES_MAX;
        assert_eq!(token(&vec![b'x'; limit]).unwrap().expose().len(), limit);
        assert!(token(&vec![b'x'; limit + 1]).unwrap_err().to_string().contains("larger than 8192 bytes"));
    }

    #[test]
    fn a_token_that_is_not_there_or_empty_is_named() {
        let missing = read_token(Path::new("/nonexistent/token")).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/token"), "{missing}");
        assert!(token(b" \n").unwrap_err().to_string().ends_with("is empty"));
    }
}
