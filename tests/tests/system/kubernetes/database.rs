//! `examples/database` as it is written: a pod with a user of its own in a PostgreSQL of the cluster.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{
    cluster::Cluster,
    command::Coffer,
    wait::{self, PATIENCE},
};

use super::{Deployed, POD_PATIENCE, applied};

/// Within this the user is gone, once its pod is.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// Users that the pod has had, one after the other, before it ends.
const USERS: usize = 3;
const USERS_OF_VAULT: &str = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'cf%'";

/// A PostgreSQL in the namespace shop, and a vault that makes users there.
pub(super) struct Databases<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) admin: &'a Coffer,
}

impl Databases<'_> {
    fn sql(&self, sql: &str) -> Result<String> {
        self.cluster.kubectl(["-n", "shop", "exec", "postgres", "--", "psql", "-U", "postgres", "-XAtc", sql])
    }

    /// Names of the users that the vault has made, a line for each.
    pub(super) fn users(&self) -> Result<String> {
        self.sql(USERS_OF_VAULT)
    }

    pub(super) fn start(&self) -> Result<()> {
        let (cluster, home) = (self.cluster, self.admin.home());
        cluster.push_postgres()?;
        let file = |name: &str| home.join(name).display().to_string();
        let ca = [file("postgres-ca.pem"), file("postgres-ca.key")];
        let own = [file("postgres.pem"), file("postgres.key")];
        openssl(&["-days", "3650", "-subj", "/CN=databases"], &ca)?;
        let name = ["-addext", "subjectAltName=DNS:postgres.shop.svc", "-addext", "basicConstraints=critical,CA:FALSE"];
        let by = ["-days", "365", "-subj", "/CN=postgres", "-CA", &ca[0], "-CAkey", &ca[1]];
        openssl(&name.into_iter().chain(by).collect::<Vec<_>>(), &own)?;
        let [certificate, key] = [format!("--cert={}", own[0]), format!("--key={}", own[1])];
        cluster.kubectl(["-n", "shop", "create", "secret", "tls", "postgres-tls", &certificate, &key])?;
        cluster.kubectl(["-n", "shop", "create", "configmap", "postgres-ca", &format!("--from-file=ca.pem={}", ca[0])])?;
        // A Kubernetes secret, for want of anything else to start a database with: no user of the vault's has it.
        let password = ["-n", "shop", "create", "secret", "generic", "postgres", "--from-file=password=/dev/stdin"];
        cluster.kubectl_with(password, "of the superuser, in the example alone")?;
        applied(cluster, "database/postgres.yaml")?;
        cluster.kubectl(["-n", "shop", "wait", "--for=condition=Ready", "pod/postgres", "--timeout=120s"])?;
        self.sql("CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2)")?;
        let role = "CREATE ROLE coffer LOGIN CREATEROLE PASSWORD 'for a moment only'; GRANT SELECT ON orders TO coffer WITH GRANT OPTION";
        self.sql(role).map(drop)
    }

    /// Tells the vault of it, and of a role whose users last this long.
    pub(super) fn connect(&self, [ttl, max_ttl]: [&str; 2]) -> Result<()> {
        let admin = self.admin;
        admin.ok(["mount", "create", "database", "--engine", "database"])?;
        let certificate = format!("@{}", admin.home().join("postgres-ca.pem").display());
        let host = ["--host", "postgres.shop.svc", "--database", "postgres", "--user", "coffer"];
        let believed = ["--ca-certificate", &certificate, "--password-file", "-"];
        let put = ["database", "connection", "put", "shop"].into_iter().chain(host).chain(believed);
        admin.ok_with(put, "for a moment only")?;
        let create = "CREATE ROLE {{name}} LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
        let grant = "GRANT SELECT ON orders TO {{name}}";
        let times = ["--ttl", ttl, "--max-ttl", max_ttl];
        let role = ["database", "role", "put", "orders", "--connection", "shop", "--create", create, "--create", grant];
        admin.ok(role.into_iter().chain(times)).map(drop)
    }
}

/// Makes a certificate and its key.
fn openssl(arguments: &[&str], [certificate, key]: &[String; 2]) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]).args(arguments);
    let made = openssl.args(["-out", certificate, "-keyout", key]).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// The pod is gone, and with it its user; until then it had several, and no query failed.
pub(super) fn a_pod_has_a_user_of_its_own(deployed: &Deployed) -> Result<()> {
    let (cluster, admin) = (&deployed.cluster, &deployed.admin);
    let databases = Databases { cluster, admin };
    databases.start()?;
    // A life of its own that is short enough to see several.
    databases.connect(["6s", "9s"])?;
    admin.ok(["database", "role", "check", "orders"])?;
    admin.ok(["database", "connection", "rotate", "shop", "--yes"])?;
    deployed.officer.ok(["grant", "read", "database/creds/orders", "--to", "k8s:prod/shop/orders"])?;

    applied(cluster, "database/orders.yaml")?;
    deployed.ready("orders")?;
    let log = || cluster.kubectl(["-n", "shop", "logs", "orders", "-c", "app"]);
    let users = wait::until(POD_PATIENCE, "several users, one after the other", || {
        let log = log()?;
        let users: BTreeSet<_> = log.lines().filter_map(|line| line.strip_suffix("|2")).map(str::to_owned).collect();
        Ok((users.len() >= USERS).then_some(users))
    })?;
    ensure!(users.iter().all(|user| user.starts_with("cf") && user.contains("_orders_")), "{users:?}");
    let log = log()?;
    ensure!(log.lines().all(|line| line.ends_with("|2")), "a query failed: {log}");
    let file = cluster.kubectl(["-n", "shop", "exec", "orders", "-c", "app", "--", "cat", "/coffer/secrets/pg_service.conf"])?;
    let password = file.lines().find_map(|line| line.strip_prefix("password=")).context("the file names a password")?;
    deployed.canaries.add("the password of a database's user", password);
    ensure!(!databases.users()?.is_empty(), "there is one");

    deployed.delete("shop", "orders")?;
    let deleted = Instant::now();
    wait::until(PATIENCE, "the pod's user to end", || Ok(databases.users()?.is_empty().then_some(())))?;
    let took = deleted.elapsed();
    println!("the pod's user was gone {took:?} after it");
    ensure!(took < END_TIME_MAX, "the user outlived its pod by {took:?}");
    cluster.kubectl(["-n", "shop", "delete", "pod", "postgres", "--force", "--grace-period=0"]).map(drop)
}
