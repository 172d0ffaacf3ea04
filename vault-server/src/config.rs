//! The configuration file, as written and as checked: docs/server.md describes it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use coffer_api::ConnectionLimits;
use coffer_core::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, KEEPALIVE_INTERVAL, NEW_CONNECTIONS_PER_ADDRESS_MAX};
use serde::Deserialize;

use crate::{files, first};

/// Seconds that the server may go on accepting connections after it is told to stop.
pub(crate) const DRAIN_DELAY_SECS_MAX: u64 = 300;
/// Bytes in a configuration.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Connections that a configuration may allow: what Linux gives descriptors for, unless told otherwise.
const CONNECTIONS_CONFIGURED_MAX: usize = 1_000_000;
/// Seconds that a connection may be configured to be silent for.
const KEEPALIVE_SECS_MAX: u64 = 3_600;

/// What the server is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The node's name: part of the audit log's origin.
    #[serde(default = "default_node")]
    pub(crate) node: String,
    pub(crate) listen: Listen,
    pub(crate) tls: Tls,
    pub(crate) store: Store,
    pub(crate) audit: Audit,
    #[serde(default)]
    pub(crate) seal: Seal,
    #[serde(default)]
    pub(crate) init: Init,
    #[serde(default)]
    pub(crate) kubernetes: Kubernetes,
    #[serde(default)]
    pub(crate) log: Log,
    #[serde(default)]
    pub(crate) metrics: Metrics,
    #[serde(default)]
    pub(crate) pki: Pki,
    #[serde(default)]
    pub(crate) limits: Limits,
    /// Seconds between the word to stop and the end of accepting connections: for whoever routes to this server to hear
    /// that it is not ready any more.
    #[serde(default)]
    pub(crate) drain_delay_secs: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Where metrics and probes are answered, over plain HTTP; none for nowhere.
    pub(crate) listen: Option<SocketAddr>,
    /// A file to write that address into once the server listens.
    pub(crate) address_file: Option<PathBuf>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pki {
    /// Where certificates of CAs and revocation lists are answered, over plain HTTP; none for nowhere.
    pub(crate) listen: Option<SocketAddr>,
    /// A file to write that address into once the server listens.
    pub(crate) address_file: Option<PathBuf>,
}

fn default_node() -> String {
    "node-0".to_owned()
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// Where the API is served over TLS; port 0 lets the system choose one.
    pub(crate) address: SocketAddr,
    /// The local socket, readable by the server's own user alone.
    pub(crate) socket: Option<PathBuf>,
    /// A file to write the address into once the server listens.
    pub(crate) address_file: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// Where the server keeps a certificate and CA of its own making.
    pub(crate) directory: Option<PathBuf>,
    /// The names and addresses in that certificate.
    #[serde(default = "default_names")]
    pub(crate) names: Vec<String>,
    /// A certificate chain that was given, PEM.
    pub(crate) certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub(crate) key: Option<PathBuf>,
}

fn default_names() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Store {
    /// In memory: gone with the process.
    Memory {
        /// Faults on purpose, for tests.
        faults: Option<String>,
    },
    /// A folder of this machine.
    Sled {
        path: PathBuf,
        /// Faults on purpose, for tests.
        faults: Option<String>,
    },
    /// An etcd cluster.
    Etcd {
        endpoints: Vec<String>,
        #[serde(default = "default_prefix")]
        prefix: String,
        /// CA certificates, PEM.
        ca: Option<PathBuf>,
        /// A client certificate, PEM.
        certificate: Option<PathBuf>,
        /// Its key, PEM.
        key: Option<PathBuf>,
        /// Faults on purpose, for tests.
        faults: Option<String>,
    },
}

fn default_prefix() -> String {
    "/coffer/".to_owned()
}

/// Limits that depend on how large the installation is; docs/limits.md has the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Connections over TLS at once.
    pub(crate) connections: usize,
    /// Connections at once from one address; none for a quarter of all.
    pub(crate) connections_per_address: Option<usize>,
    /// New connections a second from one address.
    pub(crate) new_connections_per_address: u32,
    /// Seconds that a connection may be silent before it is asked whether it lives.
    pub(crate) keepalive_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            connections_per_address: None,
            new_connections_per_address: NEW_CONNECTIONS_PER_ADDRESS_MAX,
            keepalive_secs: KEEPALIVE_INTERVAL.as_secs(),
        }
    }
}

impl Limits {
    fn check(&self) -> anyhow::Result<()> {
        if !(1..=CONNECTIONS_CONFIGURED_MAX).contains(&self.connections) {
            bail!("limits.connections: 1 to {CONNECTIONS_CONFIGURED_MAX}");
        }
        if self.connections_per_address == Some(0) {
            bail!("limits.connections_per_address: at least 1");
        }
        if self.new_connections_per_address == 0 {
            bail!("limits.new_connections_per_address: at least 1");
        }
        if !(1..=KEEPALIVE_SECS_MAX).contains(&self.keepalive_secs) {
            bail!("limits.keepalive_secs: 1 to {KEEPALIVE_SECS_MAX}");
        }
        Ok(())
    }

    /// What holds where the process may have so many descriptors.
    pub(crate) fn connections(&self, descriptors: u64) -> ConnectionLimits {
        let room = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_KEPT).max(1);
        let connections = self.connections.min(room);
        ConnectionLimits {
            connections,
            per_address: self.connections_per_address.unwrap_or(connections / ADDRESS_PART).max(1),
            new_per_address_per_sec: self.new_connections_per_address,
            keepalive: Duration::from_secs(self.keepalive_secs),
        }
    }
}

/// The part of all connections that one address may have, unless that is configured: one in so many.
const ADDRESS_PART: usize = CONNECTIONS_MAX / CONNECTIONS_PER_ADDRESS_MAX;
/// Descriptors for everything but connections: files of store and log, metrics, clusters.
const DESCRIPTORS_KEPT: usize = 512;

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audit {
    pub(crate) directory: PathBuf,
    /// Go to work although store and log do not agree on how far they came: for one start, after a restore.
    #[serde(default)]
    pub(crate) accept_divergence: bool,
    /// While this file exists, nothing becomes durable in the log: for tests.
    pub(crate) stall_file: Option<PathBuf>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Seal {
    /// Shares held by people.
    #[default]
    Shamir,
    /// A key in a file: 32 bytes as 64 hexadecimal digits.
    StaticKey { key_file: PathBuf, previous_key_file: Option<PathBuf> },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Init {
    /// A file with the token that lets Init come over the network.
    pub(crate) setup_token_file: Option<PathBuf>,
    /// Whether the server makes the vault itself where there is none: with a static key.
    #[serde(default)]
    pub(crate) automatic: bool,
    /// The operators that such a vault begins with.
    #[serde(default)]
    pub(crate) operators: Vec<InitOperator>,
    /// The cluster that it runs in, whose workloads can log in from the start.
    pub(crate) cluster: Option<InitCluster>,
    /// NAMESPACE/NAME of a service account of it, one pod of which may create operators, once.
    pub(crate) service_account: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InitOperator {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    /// SHA-256 of the public keys that log in, 64 hexadecimal digits each.
    pub(crate) pins: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InitCluster {
    pub(crate) name: String,
    /// As the server's own token has it, unless it is said.
    pub(crate) issuer: Option<String>,
    #[serde(default = "default_audience")]
    pub(crate) audience: String,
    /// NAMESPACE/NAME of the service account that may report postures of its nodes.
    pub(crate) node_agent: Option<String>,
}

fn default_audience() -> String {
    "coffer".to_owned()
}

/// The cluster that the server runs in.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kubernetes {
    /// NAMESPACE/NAME of a ConfigMap that is told the CA of the server's certificate, where the server makes that itself.
    pub(crate) ca_config_map: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter by module.
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = files::read_at_most(CONFIG_BYTES_MAX, path)?;
        let config: Self = toml::from_str(&text).with_context(|| format!("{} is not a configuration", path.display()))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if self.node.is_empty() || self.node.len() > 63 || !self.node.chars().all(name) {
            bail!("node: 1 to 63 letters, digits, '-' and '.'");
        }
        if self.drain_delay_secs > DRAIN_DELAY_SECS_MAX {
            bail!("drain_delay_secs: 0 to {DRAIN_DELAY_SECS_MAX}");
        }
        self.limits.check()?;
        if self.init.automatic && self.seal == Seal::Shamir {
            bail!("init.automatic: only with seal.kind = \"static-key\", for there is nobody to be given shares");
        }
        let begins_with = self.init.cluster.is_some() || !self.init.operators.is_empty() || self.init.service_account.is_some();
        if !self.init.automatic && begins_with {
            bail!("init.operators, init.cluster, init.service_account: only with init.automatic = true");
        }
        first::beginning(&self.init, || Ok("as the token has it".to_owned()))?;
        if let Some(map) = &self.kubernetes.ca_config_map {
            if map.split('/').count() != 2 || map.split('/').any(str::is_empty) {
                bail!("kubernetes.ca_config_map: NAMESPACE/NAME");
            }
            if self.tls.directory.is_none() {
                bail!(
                    "kubernetes.ca_config_map: only with tls.directory, for the CA of a certificate that was given is not known here"
                );
            }
        }
        match (&self.tls.directory, &self.tls.certificate, &self.tls.key) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => Ok(()),
            _ => bail!("tls: give either 'directory', or 'certificate' and 'key'"),
        }
    }
}

impl Config {
    /// The sections and keys in which another configuration differs, and which are read at the start alone.
    pub(crate) fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            ("node", self.node != other.node),
            ("listen", self.listen != other.listen),
            ("store", self.store != other.store),
            ("audit", self.audit != other.audit),
            ("seal", self.seal != other.seal),
            ("log.format", self.log.format != other.log.format),
            ("metrics", self.metrics != other.metrics),
            ("pki", self.pki != other.pki),
            ("limits", self.limits != other.limits),
            ("kubernetes", self.kubernetes != other.kubernetes),
        ];
        differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }

    /// Takes over what does not need a restart.
    pub(crate) fn take_reloaded(&mut self, other: Self) {
        self.tls = other.tls;
        self.init = other.init;
        self.log.level = other.log.level;
        self.drain_delay_secs = other.drain_delay_secs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        [listen]
        address = "127.0.0.1:8200"
        [tls]
        directory = "/var/lib/coffer/tls"
        [store]
        kind = "sled"
        path = "/var/lib/coffer/store"
        [audit]
        directory = "/var/lib/coffer/audit"
    "#;

    fn parse(text: &str) -> anyhow::Result<Config> {
        let config: Config = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn a_short_configuration_is_enough() {
        let config = parse(MINIMAL).unwrap();
        assert_eq!(config.node, "node-0");
        assert!(matches!(config.seal, Seal::Shamir));
    }

    #[test]
    fn what_is_not_known_or_contradicts_itself_is_refused() {
        for more in ["[listn]", "[tls2]\n", "[seal]\nkind = \"none\"", "[log]\nlevle = \"info\""] {
            assert!(parse(&format!("{MINIMAL}\n{more}")).is_err(), "{more}");
        }
        let both = MINIMAL.replace("[tls]", "[tls]\ncertificate = \"a\"");
        assert!(parse(&both).is_err());
        assert!(parse(&format!("node = \"a b\"\n{MINIMAL}")).is_err());
    }

    #[test]
    fn a_vault_makes_itself_only_where_that_can_be() {
        let key = "[seal]\nkind = \"static-key\"\nkey_file = \"k\"\n";
        let with = |text: &str| parse(&format!("{MINIMAL}{text}"));
        assert!(with(&format!("{key}[init]\nautomatic = true\n[init.cluster]\nname = \"here\"")).is_ok());
        let pin = "0".repeat(64);
        let operator =
            |name: &str, roles: &str| format!("[[init.operators]]\nname = \"{name}\"\nroles = [{roles}]\npins = [\"{pin}\"]\n");
        assert!(with(&format!("{key}[init]\nautomatic = true\n{}", operator("ada", "\"admin\""))).is_ok());
        for (wrong, words) in [
            ("[init]\nautomatic = true".to_owned(), "static-key"),
            (format!("{key}[init.cluster]\nname = \"here\""), "init.automatic"),
            (format!("{key}[init]\nautomatic = true\n[init.cluster]\nname = \"He re\""), "init.cluster.name"),
            (format!("{key}[init]\nautomatic = true\n{}", operator("ada", "\"officer\"")), "admin"),
            (format!("{key}[init]\nautomatic = true\n{}", operator("ada", "\"root\"")), "role"),
            (format!("{key}[init]\nautomatic = true\n{0}{0}", operator("ada", "\"admin\"")), "one name"),
            (format!("{key}[init]\nautomatic = true\n{}", operator("ada", "\"admin\"").replace(&pin, "abc")), "pin"),
            (format!("{key}[init]\nautomatic = true\nservice_account = \"a/b\""), "cluster"),
            (
                format!("{key}[init]\nautomatic = true\nservice_account = \"a\"\n[init.cluster]\nname = \"here\""),
                "NAMESPACE/NAME",
            ),
            ("[kubernetes]\nca_config_map = \"name\"".to_owned(), "NAMESPACE/NAME"),
        ] {
            let told = format!("{:#}", with(&wrong).unwrap_err());
            assert!(told.contains(words), "{wrong}: {told}");
        }
    }

    #[test]
    fn limits_are_as_usual_unless_written_and_refused_where_nothing_could_work() {
        let limits = |text: &str| parse(&format!("{MINIMAL}[limits]\n{text}")).map(|config| config.limits);
        assert_eq!(limits("").unwrap(), Limits::default());
        assert_eq!(limits("connections = 1000000\nkeepalive_secs = 3600").unwrap().connections, 1_000_000);
        for wrong in [
            "connections = 0",
            "connections = 1000001",
            "connections_per_address = 0",
            "new_connections_per_address = 0",
            "keepalive_secs = 0",
            "keepalive_secs = 3601",
            "streams = 1",
        ] {
            assert!(limits(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn there_are_no_more_connections_than_descriptors() {
        let limits = Limits::default();
        let of = |descriptors| limits.connections(descriptors);
        assert_eq!((of(1 << 20).connections, of(1 << 20).per_address), (CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX));
        assert_eq!((of(1_024).connections, of(1_024).per_address), (512, 128));
        assert_eq!((of(10).connections, of(10).per_address), (1, 1));
        let configured = Limits { connections_per_address: Some(7), ..limits };
        assert_eq!(configured.connections(1_024).per_address, 7);
    }

    #[test]
    fn what_needs_a_restart_is_named_and_the_rest_taken_over() {
        let mut running = parse(MINIMAL).unwrap();
        let change = |from: &str, to: &str| parse(&MINIMAL.replace(from, to)).unwrap();
        let same = parse(&format!("drain_delay_secs = 300\n{MINIMAL}\n[log]\nlevel = \"debug\"")).unwrap();
        assert!(running.needs_restart(&same).is_empty());
        running.take_reloaded(same);
        assert_eq!((running.log.level.as_str(), running.drain_delay_secs), ("debug", 300));
        assert_eq!(running.needs_restart(&change("8200", "8201")), ["listen"]);
        assert_eq!(running.needs_restart(&change("/coffer/store", "/elsewhere")), ["store"]);
        assert_eq!(
            running.needs_restart(&parse(&format!("node = \"b\"\n{MINIMAL}[metrics]\nlisten = \"127.0.0.1:1\"")).unwrap()),
            ["node", "metrics"]
        );
        assert!(parse(&format!("drain_delay_secs = 301\n{MINIMAL}")).is_err());
    }
}
