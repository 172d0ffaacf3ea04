//! PostgreSQL.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use anyhow::Result;
use coffer_client::proto::DatabaseConnection;
use coffer_tests::{postgres::Postgres, process::Process};

use super::{BROKEN, KEEPER, KEEPER_PASSWORD, Target, USERS, only};

impl Target for Postgres {
    const KNOWS_EXPIRY: bool = true;

    fn start() -> Result<Self> {
        Self::start()
    }

    fn start_with_tls(certificate: &str, key: &str) -> Result<Self> {
        Self::start_with_tls(certificate, key)
    }

    fn set_up(&self) -> Result<()> {
        self.sql(&format!(
            "CREATE ROLE {KEEPER} LOGIN CREATEROLE PASSWORD '{KEEPER_PASSWORD}';
             CREATE TABLE public.orders (id int); INSERT INTO orders VALUES (1), (2);
             GRANT SELECT ON orders TO {KEEPER} WITH GRANT OPTION;
             GRANT CREATE ON SCHEMA public TO {KEEPER} WITH GRANT OPTION"
        ))
        .map(drop)
    }

    fn connection(&self) -> DatabaseConnection {
        DatabaseConnection {
            kind: "postgresql".into(),
            host: "127.0.0.1".into(),
            port: self.port().into(),
            database: "postgres".into(),
            user: KEEPER.into(),
            ..Default::default()
        }
    }

    fn creation(is_broken: bool) -> Vec<String> {
        let table = if is_broken { BROKEN } else { "orders" };
        vec![
            "CREATE ROLE {{name}} LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'".into(),
            format!("GRANT CREATE ON SCHEMA public TO {{{{name}}}}; GRANT SELECT ON {table} TO {{{{name}}}}"),
        ]
    }

    fn add(&self, user: &str) -> Result<()> {
        self.sql(&format!("CREATE ROLE {user} LOGIN")).map(drop)
    }

    fn add_reader(&self, user: &str, password: &str) -> Result<()> {
        self.sql(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'; GRANT SELECT ON orders TO {user}")).map(drop)
    }

    fn users(&self) -> Result<BTreeSet<String>> {
        let users = self.sql(&format!("SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{USERS}')"))?;
        Ok(users.lines().map(str::to_owned).collect())
    }

    fn strays(&self) -> Result<usize> {
        let strays = self.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity a WHERE starts_with(a.usename, '{USERS}')
             AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = a.usename AND r.rolcanlogin)"
        ))?;
        Ok(strays.parse()?)
    }

    fn lets_in(&self, user: &str, password: &str) -> Result<bool> {
        Ok(self.sql_as(user, password, "SELECT 1")?.status.success())
    }

    fn count(&self, user: &str, password: &str) -> Result<Output> {
        self.sql_as(user, password, "SELECT count(*) FROM orders")
    }

    fn erase(&self, user: &str, password: &str) -> Result<Output> {
        self.sql_as(user, password, "DELETE FROM orders")
    }

    fn idle(&self, user: &str, password: &str) -> Command {
        let mut client = self.client(Some((user, password)));
        client.args(["-c", "SELECT pg_sleep(600)"]);
        client
    }

    fn idling(&self, user: &str) -> Result<usize> {
        let idling = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}' AND state = 'active'");
        Ok(self.sql(&idling)?.parse()?)
    }

    fn expiry(&self, user: &str) -> Result<Option<i64>> {
        let until = "SELECT extract(epoch FROM rolvaliduntil)::bigint FROM pg_roles WHERE rolname =";
        Ok(Some(self.sql(&format!("{until} '{user}'"))?.parse()?))
    }

    fn log(&self) -> Result<String> {
        self.log()
    }

    fn fill(&mut self) -> Result<Process> {
        // All that there are for this user.
        self.sql(&format!("ALTER ROLE {KEEPER} CONNECTION LIMIT 1"))?;
        only(self)
    }

    fn free(&self) -> Result<()> {
        self.sql(&format!("ALTER ROLE {KEEPER} CONNECTION LIMIT -1")).map(drop)
    }

    fn stop(&mut self) -> Result<()> {
        self.stop()
    }

    fn resume(&mut self) -> Result<()> {
        self.resume()
    }
}
