//! A TCP proxy that can be told to swallow answers, or to cut all connections.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Passes everything on.
    Pass,
    /// Passes requests on, and cuts the connection instead of passing the answer.
    CutAnswers,
    /// Cuts all connections and takes no new ones.
    Cut,
}

pub(super) struct Proxy {
    pub(super) url: String,
    pub(super) mode: Arc<watch::Sender<Mode>>,
    _connections: JoinSet<()>,
}

pub(super) async fn start(endpoint: &str) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = endpoint.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    let mode = Arc::new(watch::Sender::new(Mode::Pass));
    let modes = Arc::clone(&mode);
    let connections = JoinSet::from_iter([async move {
        let mut open = JoinSet::new();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (mut modes, server) = (modes.subscribe(), server.clone());
            open.spawn(async move {
                let mut cut = modes.clone();
                tokio::select! {
                    _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
                    _ = pass(client, &server, &mut modes) => {}
                }
            });
        }
    }]);
    Proxy { url, mode, _connections: connections }
}

async fn pass(client: TcpStream, server: &str, modes: &mut watch::Receiver<Mode>) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
    let requests = tokio::io::copy(&mut from_client, &mut to_server);
    let answers = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let bytes = from_server.read(&mut buffer).await?;
            if bytes == 0 || *modes.borrow() != Mode::Pass {
                return Ok::<_, std::io::Error>(());
            }
            to_client.write_all(&buffer[..bytes]).await?;
        }
    };
    tokio::select! {
        _ = requests => {}
        _ = answers => {}
    }
    Ok(())
}
