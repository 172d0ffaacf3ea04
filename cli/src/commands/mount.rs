//! `coffer mount`.

use clap::{Args, Subcommand};
use coffer_client::proto::{CreateMountRequest, DeleteMountRequest, ListMountsRequest, Mount as Mounted};
use serde::Serialize;

use super::confirm;
use crate::{
    app::{App, PAGE_SIZE, Vault, all_pages, answer, part},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    output::{Table, View, rfc3339, since},
};

/// Manage mounts: which engine answers below which name
#[derive(Subcommand)]
pub(crate) enum Mount {
    Create(Create),
    #[command(visible_alias = "ls")]
    List(List),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl Mount {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Make a mount
///
/// Every vault has the mount kv from the start.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer mount create team-a --engine kv --description 'secrets of team A'")]
pub(crate) struct Create {
    /// The name: the first part of the paths in it
    name: String,
    /// The engine: kv, database, kubernetes, pki or transit
    #[arg(long)]
    engine: String,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Create {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let doing = format!("make the mount {}", self.name);
        if self.dry_run.asked() {
            let there = find(app, &vault, &self.name).await?;
            if there.is_some() {
                return Err(Failure::new(Exit::Conflict, format!("there is a mount {} already", self.name))
                    .next("coffer mount list shows the mounts"));
            }
            let mut planned = Planned::new(doing, "MountService/CreateMount");
            planned.say("name", &self.name);
            planned.say("engine", &self.engine);
            planned.checked("the name is free");
            return planned.show(app);
        }
        let attempt = vault.attempt(doing);
        let request = CreateMountRequest {
            name: self.name,
            engine: self.engine,
            description: self.description,
            idempotency_key: String::new(),
        };
        let created = answer(&attempt, vault.client.mounts().create_mount(request).await)?.into_inner();
        let mount = part(&attempt, created.mount)?;
        app.out.result(&MountJson::from(&mount), |_| format!("mount {} made ({})", mount.name, mount.engine))?;
        Ok(Exit::Done)
    }
}

/// List mounts
#[derive(Args)]
pub(crate) struct List {}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let mounts = list(app, &app.vault()?).await?;
        let json: Vec<MountJson<'_>> = mounts.iter().map(MountJson::from).collect();
        app.out.long(&json, |view| render(&mounts, view))?;
        Ok(Exit::Done)
    }
}

/// Delete a mount, and erase all it holds
///
/// What it held can be reached no more, and is erased in the background; grants on it give nothing any more. This cannot be
/// taken back.
#[derive(Args)]
pub(crate) struct Delete {
    /// The name
    #[arg(add = crate::complete::mounts())]
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(Serialize)]
struct DeletedJson<'a> {
    deleted: &'a str,
    id: &'a str,
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let Some(mount) = find(app, &vault, &self.name).await? else {
            return Err(
                Failure::new(Exit::Denied, format!("there is no mount {}", self.name)).next("coffer mount list shows the mounts")
            );
        };
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("delete the mount {}", self.name), "MountService/DeleteMount");
            planned.say("name", &self.name);
            planned.say("id", &mount.id);
            planned.checked(format!("it is there, of the engine {}", mount.engine));
            return planned.show(app);
        }
        let question = format!("Delete the mount {} ({}) and erase all it holds, for good? [y/N] ", mount.name, mount.engine);
        confirm(app, self.yes, &question)?;
        let attempt = vault.attempt(format!("delete the mount {}", self.name));
        let request = DeleteMountRequest { name: mount.name.clone(), id: mount.id.clone() };
        answer(&attempt, vault.client.mounts().delete_mount(request).await)?;
        app.out.result(&DeletedJson { deleted: &mount.name, id: &mount.id }, |_| {
            format!("mount {} deleted; what it held is being erased", mount.name)
        })?;
        Ok(Exit::Done)
    }
}

async fn list(app: &App, vault: &Vault) -> Result<Vec<Mounted>> {
    let attempt = vault.attempt("list mounts");
    let mut service = vault.client.mounts();
    Ok(all_pages!(app, &attempt, mounts, |page_token| {
        service.list_mounts(ListMountsRequest { page_size: PAGE_SIZE, page_token })
    }))
}

async fn find(app: &App, vault: &Vault, name: &str) -> Result<Option<Mounted>> {
    Ok(list(app, vault).await?.into_iter().find(|mount| mount.name == name))
}

/// A mount for scripts.
#[derive(Serialize)]
struct MountJson<'a> {
    name: &'a str,
    engine: &'a str,
    description: &'a str,
    created: Option<String>,
    id: &'a str,
}

impl<'a> From<&'a Mounted> for MountJson<'a> {
    fn from(mount: &'a Mounted) -> Self {
        Self {
            name: &mount.name,
            engine: &mount.engine,
            description: &mount.description,
            created: rfc3339(mount.created.as_ref()),
            id: &mount.id,
        }
    }
}

/// Mounts for people.
fn render(mounts: &[Mounted], view: &View) -> String {
    let mut table = Table::new(&["NAME", "ENGINE", "AGE", "DESCRIPTION"]);
    for mount in mounts {
        let age = since(mount.created.as_ref(), view);
        table.row([mount.name.clone(), mount.engine.clone(), age, mount.description.clone()]);
    }
    table.render(view, "No mounts.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_shown_with_their_engines() {
        let mount = Mounted {
            name: "kv".into(),
            engine: "kv".into(),
            description: "the first".into(),
            created: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            id: "0f".repeat(16),
        };
        let view = View { now: jiff::Timestamp::from_second(90).unwrap(), width: None };
        assert_eq!(
            anstream::adapter::strip_str(&render(&[mount], &view)).to_string(),
            "NAME  ENGINE  AGE  DESCRIPTION\nkv    kv      90s  the first\n"
        );
        assert_eq!(render(&[], &view), "No mounts.");
    }
}
