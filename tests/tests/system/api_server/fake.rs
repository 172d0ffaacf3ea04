//! What stands in for a cluster's API server: pods that are listed and watched, and answers that a real one cannot be made
//! to give. What works is tested with a real one.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use coffer_client::proto::ApiServer;
use coffer_tests::issuer::Pod;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer, version::TLS13};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::objects::Objects;

/// How long a watch lasts: shorter than anybody asks for, so that tests wait less.
const WATCH_TIME: Duration = Duration::from_secs(1);
/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// How something is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Right,
    /// An HTTP status, and nothing of use.
    Status(u16),
    /// A list without items, a watch without events.
    Nothing,
    /// The connection ends in the middle of the answer.
    BreaksOff,
    /// The answer ends as it should, in the middle of an object.
    Half,
    /// A watch that says that it knows nothing of where it should begin.
    Expired,
    /// No word at all: the connection is closed.
    Closed,
}

/// A cluster's state: what a backup has.
#[derive(Clone)]
pub(crate) struct State {
    version: u64,
    pods: BTreeMap<String, Value>,
    events: Vec<(u64, Value)>,
}

struct World {
    cluster: State,
    lists: Answer,
    watches: Answer,
    /// What is made and deleted, and how that is answered.
    objects: Objects,
    acts: Answer,
    /// Lists and watches that were answered.
    answered: usize,
}

#[derive(Clone)]
pub(crate) struct Fake {
    address: SocketAddr,
    ca: String,
    /// Who does not show this token is sent away.
    token: String,
    world: Arc<Mutex<World>>,
    /// Counts what happened; watches look then.
    happened: Arc<watch::Sender<u64>>,
}

impl Fake {
    /// A cluster that has seen much already, and answers who has this token.
    pub(crate) async fn start(token: String) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let cluster = State { version: 1_000, pods: BTreeMap::new(), events: Vec::new() };
        let fake = Self {
            address: listener.local_addr()?,
            ca: made.cert.pem(),
            token,
            world: Arc::new(Mutex::new(World {
                cluster,
                lists: Answer::Right,
                watches: Answer::Right,
                objects: Objects::default(),
                acts: Answer::Right,
                answered: 0,
            })),
            happened: Arc::new(watch::Sender::new(0)),
        };
        let (accepting, acceptor) = (fake.clone(), TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().connection(acceptor.clone(), stream));
            }
        });
        Ok(fake)
    }

    /// What a cluster is registered with.
    pub(crate) fn settings(&self, token_file: &str) -> ApiServer {
        ApiServer { url: format!("https://{}", self.address), ca_pem: self.ca.clone(), token_file: token_file.to_owned() }
    }

    /// A pod begins to live.
    pub(crate) fn create(&self, pod: &Pod) {
        self.change(|cluster| {
            let object = json!({
                "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid,
                    "resourceVersion": cluster.version.to_string()},
                "spec": {"serviceAccountName": pod.service_account, "nodeName": pod.node},
                "status": {"phase": "Running"},
            });
            cluster.pods.insert(pod.uid.clone(), object.clone());
            json!({"type": "ADDED", "object": object})
        });
    }

    /// A pod is asked to be something else, or has become it: this is merged into its object.
    pub(crate) fn merge(&self, pod: &Pod, part: &Value) {
        self.change(|cluster| {
            let object = cluster.pods.entry(pod.uid.clone()).or_default();
            for (name, value) in part.as_object().into_iter().flatten() {
                for (inner, value) in value.as_object().into_iter().flatten() {
                    object[name][inner] = value.clone();
                }
            }
            object["metadata"]["resourceVersion"] = cluster.version.to_string().into();
            json!({"type": "MODIFIED", "object": object.clone()})
        });
    }

    /// A pod dies.
    pub(crate) fn delete(&self, pod: &Pod) {
        self.change(|cluster| {
            let mut object = cluster.pods.remove(&pod.uid).unwrap_or_default();
            object["metadata"]["uid"] = pod.uid.clone().into();
            object["metadata"]["resourceVersion"] = cluster.version.to_string().into();
            json!({"type": "DELETED", "object": object})
        });
    }

    fn change(&self, change: impl FnOnce(&mut State) -> Value) {
        let cluster = &mut self.world().cluster;
        cluster.version += 1;
        let event = change(cluster);
        cluster.events.push((cluster.version, event));
        self.happened.send_modify(|count| *count += 1);
    }

    pub(crate) fn backup(&self) -> State {
        self.world().cluster.clone()
    }

    /// Goes back to an earlier state, as an API server whose etcd was restored: connections end.
    pub(crate) fn restore(&self, backup: State) {
        self.world().cluster = backup;
        self.cut();
    }

    /// Answers like this from now on; watches that are under way end.
    pub(crate) fn answer(&self, lists: Answer, watches: Answer) {
        let mut world = self.world();
        (world.lists, world.watches) = (lists, watches);
        drop(world);
        self.cut();
    }

    /// Answers so from now on where objects are made or deleted: with `BreaksOff` that is done, and not answered.
    pub(crate) fn act(&self, acts: Answer) {
        self.world().acts = acts;
    }

    /// Looks at the objects that were made.
    pub(crate) fn objects<T>(&self, look: impl FnOnce(&Objects) -> T) -> T {
        look(&self.world().objects)
    }

    /// How often lists and watches were answered.
    pub(crate) fn answered(&self) -> usize {
        self.world().answered
    }

    /// Ends the watches that are under way, without a word: the count jumps.
    fn cut(&self) {
        self.happened.send_modify(|count| *count += CUT);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(self, acceptor: TlsAcceptor, stream: TcpStream) {
        // A peer that leaves is no matter.
        drop(self.serve(acceptor, stream).await);
    }

    async fn serve(self, acceptor: TlsAcceptor, stream: TcpStream) -> Result<()> {
        let mut stream = acceptor.accept(stream).await?;
        loop {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                anyhow::ensure!(request.len() < REQUEST_BYTES_MAX && stream.read_buf(&mut request).await? > 0, "it left");
            }
            let end = request.windows(4).position(|end| end == b"\r\n\r\n").context("the head ends")? + 4;
            let mut body = request.split_off(end);
            let head = String::from_utf8(request)?;
            let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            while body.len() < length.unwrap_or(0) {
                anyhow::ensure!(body.len() < REQUEST_BYTES_MAX && stream.read_buf(&mut body).await? > 0, "it left");
            }
            let mut words = head.split(' ');
            let (method, path) = words.next().zip(words.next()).context("a path")?;
            anyhow::ensure!(head.contains(&format!("Bearer {}\r\n", self.token)), "it is nobody");
            let goes_on = match method {
                // Reviews are answered by nobody: what is known of pods has to do.
                "POST" if path.ends_with("/tokenreviews") => false,
                "POST" | "DELETE" => self.do_it(&mut stream, (method, path), &body).await?,
                _ => self.respond(&mut stream, path).await?,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Whether whoever asks is sent away, which is an answer, too.
    fn is_closed(&self) -> bool {
        let mut world = self.world();
        let closed = world.lists == Answer::Closed;
        world.answered += usize::from(closed);
        closed
    }

    /// Makes or deletes something, as is set; gives whether the connection goes on.
    async fn do_it(&self, stream: &mut TlsStream<TcpStream>, (method, path): (&str, &str), body: &[u8]) -> Result<bool> {
        let (acts, (status, answer)) = {
            let mut world = self.world();
            let done = matches!(world.acts, Answer::Right | Answer::BreaksOff);
            (world.acts, if done { world.objects.act(method, path, body) } else { Default::default() })
        };
        match acts {
            Answer::Right => whole(stream, status, &answer.to_string()).await.map(|()| true),
            Answer::Status(status) => {
                whole(stream, status, r#"{"kind":"Status","message":"the cluster says no"}"#).await.map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Answers one request; gives whether the connection goes on.
    async fn respond(&self, stream: &mut TlsStream<TcpStream>, path: &str) -> Result<bool> {
        if path.starts_with("/api/v1/namespaces/kube-system") {
            if self.is_closed() {
                return Ok(false);
            }
            return whole(stream, 200, &json!({"metadata": {"uid": "the-cluster"}}).to_string()).await.map(|()| true);
        }
        let watches = path.contains("watch=1");
        let answer = {
            let mut world = self.world();
            world.answered += 1;
            if watches { world.watches } else { world.lists }
        };
        match answer {
            Answer::Closed => Ok(false),
            Answer::Status(status) => whole(stream, status, r#"{"kind":"Status"}"#).await.map(|()| true),
            Answer::Expired => {
                whole(stream, 200, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410}}\n").await.map(|()| true)
            }
            _ if watches => self.watch(stream, path, answer).await,
            _ => {
                let list = self.list(answer == Answer::Nothing);
                let (half, _) = list.split_at(list.len() / 2);
                match answer {
                    Answer::Half => whole(stream, 200, half).await.map(|()| true),
                    Answer::BreaksOff => {
                        stream.write_all(head(200, &format!("content-length: {}", list.len())).as_bytes()).await?;
                        stream.write_all(half.as_bytes()).await?;
                        stream.flush().await?;
                        Ok(false)
                    }
                    _ => whole(stream, 200, &list).await.map(|()| true),
                }
            }
        }
    }

    fn list(&self, nothing: bool) -> String {
        let world = self.world();
        let items: Vec<_> = world.cluster.pods.values().filter(|_| !nothing).collect();
        json!({"metadata": {"resourceVersion": world.cluster.version.to_string()}, "items": items}).to_string()
    }

    /// Tells what comes behind a version, as a real one does: nothing, where it has not come so far itself.
    async fn watch(&self, stream: &mut TlsStream<TcpStream>, path: &str, answer: Answer) -> Result<bool> {
        let version = path.split("resourceVersion=").nth(1).context("a version")?;
        let mut version: u64 = version.split('&').next().unwrap_or_default().parse()?;
        let (mut happened, end) = (self.happened.subscribe(), Instant::now() + WATCH_TIME);
        let begin = *happened.borrow_and_update();
        stream.write_all(head(200, "transfer-encoding: chunked").as_bytes()).await?;
        stream.flush().await?;
        loop {
            let news: Vec<_> = self.world().cluster.events.iter().filter(|(at, _)| *at > version).cloned().collect();
            for (at, event) in news.into_iter().filter(|_| answer != Answer::Nothing) {
                let line = format!("{event}\n");
                if matches!(answer, Answer::Half | Answer::BreaksOff) {
                    chunk(stream, line.split_at(line.len() / 2).0).await?;
                    if answer == Answer::Half {
                        chunk(stream, "").await?;
                    }
                    return Ok(answer == Answer::Half);
                }
                chunk(stream, &line).await?;
                version = at;
            }
            tokio::select! {
                changed = happened.changed() => changed?,
                () = sleep_until(end) => {
                    chunk(stream, "").await?;
                    return Ok(true);
                }
            }
            if *happened.borrow_and_update() - begin >= CUT {
                return Ok(false);
            }
        }
    }
}

/// What the count of what happened jumps by where connections are cut.
const CUT: u64 = 1 << 32;

fn head(status: u16, more: &str) -> String {
    format!("HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\n{more}\r\n\r\n")
}

async fn whole(stream: &mut TlsStream<TcpStream>, status: u16, body: &str) -> Result<()> {
    stream.write_all(head(status, &format!("content-length: {}", body.len())).as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    Ok(stream.flush().await?)
}

/// A chunk; an empty one ends the answer.
async fn chunk(stream: &mut TlsStream<TcpStream>, text: &str) -> Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await?;
    Ok(stream.flush().await?)
}
