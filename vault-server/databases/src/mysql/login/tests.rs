use std::sync::Arc;

use coffer_secret::SecretString;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{Connection, Kind, Protection, endpoint::Stream};

const NONCE: &[u8; 20] = b"abcdefghijklmnopqrst";
const NATIVE: &str = "mysql_native_password";
const CACHING: &str = "caching_sha2_password";
const DONE: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const REMEMBERED: &[u8] = &[1, 3];
const FORGOTTEN: &[u8] = &[1, 4];

/// What a server says, and what was said to it: MySQL's own plugins are in no server that tests have.
struct Script<'a> {
    greeting: Vec<u8>,
    /// What is said to each word of the client's, but to the one that asks for TLS.
    answers: &'a [&'a [&'a [u8]]],
    tls: Option<CertifiedKey<rcgen::KeyPair>>,
    /// Whether the client wants TLS, where the server has none.
    is_tls_wanted: bool,
}

impl<'a> Script<'a> {
    fn new(greeting: Vec<u8>, answers: &'a [&'a [&'a [u8]]]) -> Self {
        Self { greeting, answers, tls: None, is_tls_wanted: false }
    }

    async fn play(self) -> (Result<String, DatabaseError>, Vec<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let protection = match &self.tls {
            None if !self.is_tls_wanted => Protection::None,
            key => Protection::Tls { ca_pem: key.as_ref().unwrap_or(&other).cert.pem(), server_name: None },
        };
        let login = login(listener.local_addr().unwrap().port(), protection);
        let client = async { login.connect().await.map(|(_, version)| version) };
        tokio::join!(client, self.serve(listener))
    }

    async fn serve(self, listener: TcpListener) -> Vec<Vec<u8>> {
        let (mut stream, _) = listener.accept().await.unwrap();
        say(&mut stream, 0, &self.greeting).await;
        let mut stream: Stream = match self.tls {
            None => Box::new(stream),
            Some(CertifiedKey { cert, signing_key }) => {
                let (_, asked) = hear(&mut stream).await.unwrap();
                assert_eq!(asked.len(), 32, "TLS is asked for, and nothing said before it is there");
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
                let config = config.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
                Box::new(TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap())
            }
        };
        let mut heard = Vec::new();
        for answer in self.answers {
            let Some((mut number, body)) = hear(&mut stream).await else { break };
            heard.push(body);
            for packet in *answer {
                number += 1;
                say(&mut stream, number, packet).await;
            }
        }
        heard.extend(hear(&mut stream).await.map(|(_, body)| body));
        heard
    }
}

fn login(port: u16, protection: Protection) -> Login {
    let connection = Connection {
        kind: Kind::MySql,
        host: "127.0.0.1".into(),
        port,
        database: "shop".into(),
        user: "coffer".into(),
        password: password(),
        protection,
        connections: 1,
    };
    let endpoint = Endpoint::new(&connection).unwrap();
    Login { endpoint, user: connection.user, password: connection.password, database: connection.database }
}

fn password() -> SecretString {
    SecretString::copied_from("its password")
}

async fn say(stream: &mut (impl tokio::io::AsyncWrite + Unpin), number: u8, body: &[u8]) {
    let length = u8::try_from(body.len()).unwrap();
    stream.write_all(&[&[length, 0, 0, number], body].concat()).await.unwrap();
}

async fn hear(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.ok()?;
    let mut body = vec![0; header[0].into()];
    stream.read_exact(&mut body).await.unwrap();
    Some((header[3], body))
}

fn greeting(plugin: &str, without: u32) -> Vec<u8> {
    let [a, b, c, d] = (!without).to_le_bytes();
    [
        b"\x0A8.4.0\0\x01\0\0\0".as_slice(),
        &NONCE[..8],
        &[0, a, b, COLLATION, 2, 0, c, d, 21],
        &[0; 10],
        &NONCE[8..],
        &[0],
        plugin.as_bytes(),
        &[0],
    ]
    .concat()
}

fn switch(plugin: &str, nonce: &[u8]) -> Vec<u8> {
    [&[0xFE], plugin.as_bytes(), &[0], nonce, &[0]].concat()
}

#[tokio::test]
async fn the_first_answer_names_user_and_database_and_proves_the_password() {
    let (native, caching) = (scramble::native(&password(), NONCE), scramble::caching_sha2(&password(), NONCE));
    for (plugin, proof, answer) in [(NATIVE, native, [DONE].as_slice()), (CACHING, caching, &[REMEMBERED, DONE])] {
        let (version, heard) = Script::new(greeting(plugin, 0), &[answer]).play().await;
        assert_eq!(version.unwrap(), "8.4.0");
        let length = u8::try_from(proof.len()).unwrap();
        let expected = [b"coffer\0".as_slice(), &[length], proof.expose(), b"shop\0", plugin.as_bytes(), &[0]].concat();
        assert_eq!(heard[0][32..], expected);
        assert_eq!(heard.len(), 1);
    }
}

#[tokio::test]
async fn another_plugin_gets_its_own_proof_of_its_own_nonce() {
    let nonce = [b'z'; 20];
    for (first, then, proof) in [
        (CACHING, NATIVE, scramble::native(&password(), &nonce)),
        (NATIVE, CACHING, scramble::caching_sha2(&password(), &nonce)),
        ("ed25519", NATIVE, scramble::native(&password(), &nonce)),
    ] {
        let (version, heard) = Script::new(greeting(first, 0), &[&[&switch(then, &nonce)], &[DONE]]).play().await;
        assert!(version.is_ok(), "{version:?}");
        assert_eq!(heard[1], proof.expose());
    }
    let (refused, _) = Script::new(greeting(NATIVE, 0), &[&[&switch("mysql_clear_password", &nonce)]]).play().await;
    let refused = refused.unwrap_err();
    assert!(refused.fault == Fault::Refused && refused.detail.contains("mysql_clear_password"), "{refused}");
}

#[tokio::test]
async fn a_server_that_does_not_remember_the_password_gets_it_over_tls_and_never_in_plain() {
    let (refused, heard) = Script::new(greeting(CACHING, 0), &[&[FORGOTTEN]]).play().await;
    assert_eq!(refused.unwrap_err().fault, Fault::Configuration);
    assert_eq!(heard.len(), 1, "nothing more was said");
    assert!(!heard[0].windows(8).any(|part| part == b"its pass"), "{heard:?}");

    let answers: &[&[&[u8]]] = &[&[FORGOTTEN], &[DONE]];
    let tls = Some(generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap());
    let (version, heard) = Script { tls, ..Script::new(greeting(CACHING, 0), answers) }.play().await;
    assert!(version.is_ok(), "{version:?}");
    assert_eq!(heard[1], b"its password\0");
}

#[tokio::test]
async fn a_server_without_tls_is_told_nothing_where_tls_is_wanted() {
    let script = Script { is_tls_wanted: true, ..Script::new(greeting(NATIVE, SSL), &[]) };
    let (refused, heard) = script.play().await;
    assert_eq!(refused.unwrap_err().fault, Fault::Unreachable);
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_why() {
    async fn play(greeting: Vec<u8>, answers: &[&[&[u8]]]) -> Fault {
        Script::new(greeting, answers).play().await.0.unwrap_err().fault
    }
    for (error, fault) in [
        (b"\xFF\x10\x04Too many connections".as_slice(), Fault::Busy),
        (b"\xFF\x6A\x04Host is not allowed", Fault::Refused),
        (b"\xFF\x1D\x04Server shutdown in progress", Fault::Unreachable),
    ] {
        assert_eq!(play(error.to_vec(), &[]).await, fault, "in place of a greeting");
        assert_eq!(play(greeting(NATIVE, 0), &[&[error]]).await, fault, "after it");
    }
    for strange in [vec![9; 40], greeting(NATIVE, PLUGIN_AUTH), greeting(NATIVE, SECURE_CONNECTION), vec![10], vec![]] {
        assert_eq!(play(strange, &[]).await, Fault::Unreachable);
    }
    for strange in [[2].as_slice(), &[], &[1, 9]] {
        assert_eq!(play(greeting(NATIVE, 0), &[&[strange]]).await, Fault::Unreachable);
    }
}
