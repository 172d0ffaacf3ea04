//! Redis.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use anyhow::Result;
use coffer_client::proto::DatabaseConnection;
use coffer_tests::{process::Process, redis::Redis};

use super::{BROKEN, KEEPER, KEEPER_PASSWORD, Target, USERS, only};

impl Target for Redis {
    const HAS_STATEMENTS: bool = false;

    fn start() -> Result<Self> {
        Self::start()
    }

    fn start_with_tls(certificate: &str, key: &str) -> Result<Self> {
        Self::start_with_tls(certificate, key)
    }

    fn set_up(&self) -> Result<()> {
        let password = format!(">{KEEPER_PASSWORD}");
        let rules = ["+acl|setuser", "+acl|deluser", "+acl|getuser", "+acl|users", "+acl|save", "+ping", "+blpop", "~nothing"];
        self.ask(&[["ACL", "SETUSER", KEEPER, "on", &password].as_slice(), &rules].concat())?;
        // Where there is a file for it.
        drop(self.ask(&["ACL", "SAVE"]));
        self.ask(&["RPUSH", "shop:orders", "1", "2"]).map(drop)
    }

    fn connection(&self) -> DatabaseConnection {
        DatabaseConnection {
            kind: "redis".into(),
            host: "127.0.0.1".into(),
            port: self.port().into(),
            user: KEEPER.into(),
            ..Default::default()
        }
    }

    fn creation(is_broken: bool) -> Vec<String> {
        let more = if is_broken { BROKEN } else { "read" };
        vec!["~shop:* +blpop +ping".into(), format!("+@{more}")]
    }

    fn add(&self, user: &str) -> Result<()> {
        self.ask(&["ACL", "SETUSER", user, "on"]).map(drop)
    }

    fn add_reader(&self, user: &str, password: &str) -> Result<()> {
        self.ask(&["ACL", "SETUSER", user, "on", &format!(">{password}"), "~shop:*", "+@read"]).map(drop)
    }

    fn users(&self) -> Result<BTreeSet<String>> {
        let users = self.ask(&["ACL", "USERS"])?;
        Ok(users.lines().filter(|name| name.starts_with(USERS)).map(str::to_owned).collect())
    }

    fn strays(&self) -> Result<usize> {
        let (users, clients) = (self.users()?, self.ask(&["CLIENT", "LIST"])?);
        let stray = |user: &str| user.starts_with(USERS) && !users.contains(user);
        Ok(clients.lines().filter_map(user_of).filter(|user| stray(user)).count())
    }

    fn lets_in(&self, user: &str, password: &str) -> Result<bool> {
        let told = self.ask_as(user, password, &["PING"])?;
        // Whoever is in but may not do that is told another thing than whoever is not.
        let words = [told.stdout, told.stderr].concat();
        Ok(told.status.success() || String::from_utf8_lossy(&words).contains("NOPERM"))
    }

    fn count(&self, user: &str, password: &str) -> Result<Output> {
        self.ask_as(user, password, &["LLEN", "shop:orders"])
    }

    fn erase(&self, user: &str, password: &str) -> Result<Output> {
        self.ask_as(user, password, &["DEL", "shop:orders"])
    }

    fn idle(&self, user: &str, password: &str) -> Command {
        let mut client = self.client(Some((user, password)));
        client.args(["BLPOP", if user == KEEPER { "nothing" } else { "shop:nothing" }, "0"]);
        client
    }

    fn idling(&self, user: &str) -> Result<usize> {
        let clients = self.ask(&["CLIENT", "LIST"])?;
        Ok(clients.lines().filter(|line| user_of(line) == Some(user) && line.contains(" cmd=blpop ")).count())
    }

    fn log(&self) -> Result<String> {
        self.log()
    }

    fn fill(&mut self) -> Result<Process> {
        let idle = only(self)?;
        // This client is one itself.
        let clients = self.ask(&["CLIENT", "LIST"])?.lines().count() - 1;
        self.ask(&["CONFIG", "SET", "maxclients", &clients.to_string()])?;
        Ok(idle)
    }

    fn free(&self) -> Result<()> {
        self.ask(&["CONFIG", "SET", "maxclients", "60"]).map(drop)
    }

    fn stop(&mut self) -> Result<()> {
        self.stop()
    }

    fn resume(&mut self) -> Result<()> {
        self.resume()
    }
}

fn user_of(client: &str) -> Option<&str> {
    client.split(' ').find_map(|field| field.strip_prefix("user="))
}
