use std::sync::atomic::{AtomicUsize, Ordering};

use coffer_registry::Digest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// More answers than any test asks for.
const MANY: usize = 1_000;

/// A registry that answers as often as it may with the manifest that it has by now, and counts who is with it.
struct Registry {
    host: String,
    manifest: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Registry {
    async fn start(answers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let manifest = Arc::new(Mutex::new("one".to_owned()));
        let (asked, most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (has, counted, peak) = (Arc::clone(&manifest), Arc::clone(&asked), Arc::clone(&most));
        let answers = Arc::new(Semaphore::new(answers));
        let may = Arc::clone(&answers);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (has, counted, peak, now) = (Arc::clone(&has), Arc::clone(&counted), Arc::clone(&peak), Arc::clone(&now));
                let may = Arc::clone(&may);
                connections.spawn(async move {
                    let mut head = [0; 4_096];
                    let _ = stream.read(&mut head).await.unwrap();
                    counted.fetch_add(1, Ordering::Relaxed);
                    peak.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    may.acquire().await.unwrap().forget();
                    now.fetch_sub(1, Ordering::Relaxed);
                    let digest = Digest::of(has.lock().unwrap().as_bytes());
                    let kind = "application/vnd.oci.image.manifest.v1+json";
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.unwrap();
                });
            }
        });
        Self { host, manifest, asked, most, answers, _tasks: tasks }
    }

    fn pinner(&self) -> Arc<Pinner> {
        let registries = BTreeSet::from([self.host.clone()]);
        Arc::new(Pinner::new(Sources { plain_http: registries.clone(), registries, ..Sources::default() }).unwrap())
    }

    fn image(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }
}

async fn one(pinner: &Arc<Pinner>, image: &str) -> Result<String, String> {
    pinner.look_up([image.to_owned()].into(), None).await.remove(image).unwrap()
}

#[tokio::test]
async fn a_digest_is_kept_for_a_moment_and_no_longer() {
    let registry = Registry::start(MANY).await;
    let (pinner, image) = (registry.pinner(), registry.image("a:b"));
    let before = format!("{image}@{}", Digest::of(b"one"));
    assert_eq!(one(&pinner, &image).await, Ok(before.clone()));
    *registry.manifest.lock().unwrap() = "two".to_owned();
    // For the next pods of the same Deployment it need not be asked for again.
    pinner.digests.lock().unwrap().get_mut(&image).unwrap().0 = Instant::now();
    assert_eq!(one(&pinner, &image).await, Ok(before));
    assert_eq!(registry.asked.load(Ordering::Relaxed), 1);
    let past = Instant::now().checked_sub(DIGEST_TIME_MAX).unwrap();
    pinner.digests.lock().unwrap().get_mut(&image).unwrap().0 = past;
    assert_eq!(one(&pinner, &image).await, Ok(format!("{image}@{}", Digest::of(b"two"))));
    // There are so many, and no more.
    let more = (1..DIGESTS_MAX).map(|index| (index.to_string(), (past, String::new())));
    pinner.digests.lock().unwrap().extend(more);
    assert_eq!(pinner.digests.lock().unwrap().len(), DIGESTS_MAX);
    one(&pinner, &registry.image("a:c")).await.unwrap();
    assert_eq!(pinner.digests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_is_asked_whom_the_operator_does_not_name() {
    let registry = Registry::start(MANY).await;
    let pinner = Arc::new(Pinner::new(Sources::default()).unwrap());
    let told = one(&pinner, &registry.image("a:b")).await.unwrap_err();
    assert_eq!(told, format!("the registry {} is not one of injector.pinImages.registries in the chart's values", registry.host));
    assert_eq!(registry.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn so_many_are_asked_for_at_once_and_no_more() {
    let registry = Registry::start(0).await;
    let images: BTreeSet<String> = (0..=LOOKUPS_MAX).map(|index| registry.image(&format!("a:t{index}"))).collect();
    let pinner = registry.pinner();
    let asks = async {
        while registry.most.load(Ordering::Relaxed) < LOOKUPS_MAX {
            tokio::task::yield_now().await;
        }
        registry.answers.add_permits(MANY);
    };
    let (pins, ()) = tokio::join!(pinner.look_up(images, Some(Duration::from_secs(60))), asks);
    assert!(pins.len() == LOOKUPS_MAX + 1 && pins.values().all(Result::is_ok), "{pins:?}");
    assert_eq!(registry.most.load(Ordering::Relaxed), LOOKUPS_MAX);
}

#[tokio::test]
async fn what_is_late_is_said_to_be_and_the_rest_is_told() {
    let (slow, quick) = (Registry::start(0).await, Registry::start(MANY).await);
    let registries = BTreeSet::from([slow.host.clone(), quick.host.clone()]);
    let pinner = Arc::new(Pinner::new(Sources { plain_http: registries.clone(), registries, ..Sources::default() }).unwrap());
    let asked = [slow.image("a:b"), quick.image("a:b")];
    let pins = pinner.look_up(asked.clone().into(), Some(Duration::from_secs(2))).await;
    assert_eq!(pins[&asked[0]], Err("its registry takes too long to answer".to_owned()));
    assert!(pins[&asked[1]].is_ok(), "{pins:?}");
}

#[test]
fn sources_that_cannot_be_used_are_named() {
    let told = |sources: Sources| Pinner::new(sources).err().unwrap();
    let plain = Sources { plain_http: ["a.example".to_owned()].into(), ..Sources::default() };
    assert!(told(plain).starts_with("a.example is to be asked without TLS"));
    let absent = Sources { docker_config: Some("/nowhere/config.json".into()), ..Sources::default() };
    assert!(told(absent).starts_with("/nowhere/config.json: "));
}

#[test]
fn how_long_the_api_server_waits_is_read_as_it_says_it() {
    assert_eq!(waits(Some("timeout=5s")), Some(Duration::from_secs(5)));
    assert_eq!(waits(Some("a=b&timeout=1m0s")), Some(Duration::from_secs(60)));
    for none in [None, Some(""), Some("timeout="), Some("timeout=soon")] {
        assert_eq!(waits(none), None);
    }
}
