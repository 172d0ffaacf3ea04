//! MariaDB, for the kind `mysql`.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use anyhow::Result;
use coffer_client::proto::DatabaseConnection;
use coffer_tests::{mariadb::MariaDb, process::Process};

use super::{BROKEN, KEEPER, KEEPER_PASSWORD, Target, USERS, only};

impl Target for MariaDb {
    fn start() -> Result<Self> {
        Self::start()
    }

    fn start_with_tls(certificate: &str, key: &str) -> Result<Self> {
        Self::start_with_tls(certificate, key)
    }

    fn set_up(&self) -> Result<()> {
        self.sql(&format!(
            "CREATE USER {KEEPER} IDENTIFIED BY '{KEEPER_PASSWORD}';
             CREATE DATABASE shop; CREATE TABLE shop.orders (id int); INSERT INTO shop.orders VALUES (1), (2);
             GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO {KEEPER};
             GRANT SELECT ON mysql.user TO {KEEPER};
             GRANT SELECT ON shop.orders TO {KEEPER} WITH GRANT OPTION"
        ))
        .map(drop)
    }

    fn connection(&self) -> DatabaseConnection {
        DatabaseConnection {
            kind: "mysql".into(),
            host: "127.0.0.1".into(),
            port: self.port().into(),
            user: KEEPER.into(),
            ..Default::default()
        }
    }

    fn creation(is_broken: bool) -> Vec<String> {
        let table = if is_broken { BROKEN } else { "orders" };
        vec![
            "CREATE USER '{{name}}'@'%' IDENTIFIED BY PASSWORD '{{password_hash}}'".into(),
            format!("GRANT SELECT ON shop.{table} TO '{{{{name}}}}'@'%'"),
        ]
    }

    fn add(&self, user: &str) -> Result<()> {
        self.sql(&format!("CREATE USER {user}")).map(drop)
    }

    fn add_reader(&self, user: &str, password: &str) -> Result<()> {
        let grant = format!("GRANT SELECT ON shop.orders TO {user}");
        self.sql(&format!("CREATE USER {user} IDENTIFIED BY '{password}'; {grant}")).map(drop)
    }

    fn users(&self) -> Result<BTreeSet<String>> {
        let users = self.sql(&format!("SELECT User FROM mysql.user WHERE User LIKE '{USERS}%'"))?;
        Ok(users.lines().map(str::to_owned).collect())
    }

    fn strays(&self) -> Result<usize> {
        let strays = self.sql(&format!(
            "SELECT count(*) FROM information_schema.PROCESSLIST p WHERE p.USER LIKE '{USERS}%'
             AND NOT EXISTS (SELECT 1 FROM mysql.global_priv g WHERE g.User = p.USER
                             AND JSON_VALUE(g.Priv, '$.account_locked') IS NULL)"
        ))?;
        Ok(strays.parse()?)
    }

    fn lets_in(&self, user: &str, password: &str) -> Result<bool> {
        Ok(self.sql_as(user, password, "SELECT 1")?.status.success())
    }

    fn count(&self, user: &str, password: &str) -> Result<Output> {
        self.sql_as(user, password, "SELECT count(*) FROM shop.orders")
    }

    fn erase(&self, user: &str, password: &str) -> Result<Output> {
        self.sql_as(user, password, "DELETE FROM shop.orders")
    }

    fn idle(&self, user: &str, password: &str) -> Command {
        let mut client = self.client(Some((user, password)));
        client.args(["-e", "SELECT SLEEP(600)"]);
        client
    }

    fn idling(&self, user: &str) -> Result<usize> {
        let idling =
            format!("SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = '{user}' AND STATE = 'User sleep'");
        Ok(self.sql(&idling)?.parse()?)
    }

    fn log(&self) -> Result<String> {
        self.log()
    }

    fn fill(&mut self) -> Result<Process> {
        // All that there are for this user.
        self.sql(&format!("ALTER USER {KEEPER} WITH MAX_USER_CONNECTIONS 1"))?;
        only(self)
    }

    fn free(&self) -> Result<()> {
        self.sql(&format!("ALTER USER {KEEPER} WITH MAX_USER_CONNECTIONS 0")).map(drop)
    }

    fn stop(&mut self) -> Result<()> {
        self.stop()
    }

    fn resume(&mut self) -> Result<()> {
        self.resume()
    }
}
