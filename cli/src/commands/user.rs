//! `coffer user`: operator accounts.

use clap::{Args, Subcommand};
use coffer_client::proto::{
    CreateOperatorRequest, DeleteOperatorRequest, GetOperatorRequest, ListOperatorsRequest, Operator, SetPasswordRequest,
    UpdateOperatorRequest,
};
use coffer_secret::SecretString;
use serde::Serialize;

use crate::{
    app::{App, PAGE_SIZE, Vault, all_pages, answer, part},
    dry_run::{DryRun, Planned},
    exit::Exit,
    failure::{Failure, Result},
    input::{PASSWORD_BYTES_MAX, Source, hidden, hidden_twice},
    output::{Table, View, pairs, rfc3339, since},
};

/// Bytes in a new password, at least: the vault's own limit.
const PASSWORD_BYTES_MIN: usize = 12;

/// Manage operator accounts: the people who run the vault
///
/// A user is an operator account: in grants and in the audit log it is called operator:NAME. Workloads have no account;
/// they log in with their Kubernetes service account.
#[derive(Subcommand)]
pub(crate) enum User {
    Create(Create),
    Get(Get),
    #[command(visible_alias = "ls")]
    List(List),
    Update(Update),
    Passwd(Passwd),
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

impl User {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Create(command) => command.run(app).await,
            Self::Get(command) => command.run(app).await,
            Self::List(command) => command.run(app).await,
            Self::Update(command) => command.run(app).await,
            Self::Passwd(command) => command.run(app).await,
            Self::Delete(command) => command.run(app).await,
        }
    }
}

/// Create an operator account
///
/// The password is asked for, hidden, unless a pin is given or --password-file.
#[derive(Args)]
#[command(after_help = "\
Roles:
  admin     runs the vault and its accounts; reads no secret
  officer   decides who may read
  auditor   sees everything but values

Examples:
  coffer user create alice --role admin
  coffer user create olga --role officer --password-file - < password.txt
  coffer user create deploy --role admin --pin $(coffer identity pin deploy.pem)")]
pub(crate) struct Create {
    /// The name: a-z 0-9 . - _
    #[arg(add = crate::complete::users())]
    name: String,
    /// A role: admin, officer or auditor; none for somebody who reads what is granted to them
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A file with the first password on its only line; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// The pin of a certificate that logs in (`coffer identity pin FILE`)
    #[arg(long = "pin", value_name = "PIN")]
    pins: Vec<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Create {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("create the user {}", self.name), "OperatorService/CreateOperator");
            planned.say("name", &self.name);
            planned.say("roles", &self.roles);
            planned.say("certificate_pins", &self.pins);
            match read(&vault, &self.name).await {
                Ok(_) => return Err(Failure::new(Exit::Conflict, format!("there is a user {} already", self.name))),
                Err(failure) if failure.exit == Exit::Denied => planned.checked("no user of this name can be seen"),
                Err(failure) => return Err(failure),
            }
            return planned.show(app);
        }
        let password = match &self.password_file {
            None if !self.pins.is_empty() => None,
            file => Some(new_password(app, file.as_deref(), &self.name)?),
        };
        let attempt = vault.attempt(format!("create the user {}", self.name));
        let request = CreateOperatorRequest {
            name: self.name,
            roles: self.roles,
            password: password.map(SecretString::into_exposed).unwrap_or_default(),
            certificate_pins: self.pins,
            idempotency_key: String::new(),
        };
        let created = answer(&attempt, vault.client.operators().create_operator(request).await)?.into_inner();
        let operator = part(&attempt, created.operator)?;
        app.out.result(&UserJson::new(&operator), |_| {
            format!("user {} created: {}; next: coffer login {}", operator.name, in_words(&operator.roles), operator.name)
        })?;
        Ok(Exit::Done)
    }
}

/// A new password from a file, or asked for twice; long enough, so that nobody types it for nothing.
fn new_password(app: &App, file: Option<&str>, name: &str) -> Result<SecretString> {
    let password = match file {
        Some(file) => app.input.line(&Source::of_file(file), PASSWORD_BYTES_MAX)?,
        None => hidden_twice(&format!("New password of {name}"), "use --password-file FILE", PASSWORD_BYTES_MAX)?,
    };
    if password.expose().len() < PASSWORD_BYTES_MIN {
        return Err(Failure::usage(format!("a password has at least {PASSWORD_BYTES_MIN} bytes"))
            .next("a few words with spaces between make a good one"));
    }
    Ok(password)
}

/// Show an operator account
#[derive(Args)]
pub(crate) struct Get {
    /// The name
    #[arg(add = crate::complete::users())]
    name: String,
}

impl Get {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let operator = read(&vault, &self.name).await?;
        app.out.result(&UserJson::new(&operator), |view| {
            pairs(&[
                ("Name", operator.name.clone()),
                ("Roles", in_words(&operator.roles)),
                ("Password", if operator.has_password { "set" } else { "none" }.to_owned()),
                ("Pins", operator.certificate_pins.join(" ")),
                ("Age", since(operator.created.as_ref(), view)),
            ])
        })?;
        Ok(Exit::Done)
    }
}

async fn read(vault: &Vault, name: &str) -> Result<Operator> {
    let attempt = vault.attempt(format!("read the user {name}"));
    let request = GetOperatorRequest { name: name.to_owned() };
    let answer = answer(&attempt, vault.client.operators().get_operator(request).await)?.into_inner();
    part(&attempt, answer.operator)
}

/// List operator accounts
#[derive(Args)]
pub(crate) struct List {}

impl List {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let attempt = vault.attempt("list users");
        let mut service = vault.client.operators();
        let operators = all_pages!(app, &attempt, operators, |page_token| {
            service.list_operators(ListOperatorsRequest { page_size: PAGE_SIZE, page_token })
        });
        let json: Vec<UserJson<'_>> = operators.iter().map(UserJson::new).collect();
        app.out.long(&json, |view| render(&operators, view))?;
        Ok(Exit::Done)
    }
}

fn render(operators: &[Operator], view: &View) -> String {
    let mut table = Table::new(&["NAME", "ROLES", "LOGIN", "AGE"]);
    for operator in operators {
        let mut login = Vec::new();
        if operator.has_password {
            login.push("password".to_owned());
        }
        match operator.certificate_pins.len() {
            0 => {}
            1 => login.push("certificate".to_owned()),
            pins => login.push(format!("{pins} certificates")),
        }
        table.row([operator.name.clone(), operator.roles.join(","), login.join(","), since(operator.created.as_ref(), view)]);
    }
    table.render(view, "No users.")
}

/// Roles as people read them.
fn in_words(roles: &[String]) -> String {
    if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") }
}

/// Change roles and certificates
///
/// What is given replaces what was there; what is not given stays.
#[derive(Args)]
pub(crate) struct Update {
    /// The name
    #[arg(add = crate::complete::users())]
    name: String,
    /// A role; all roles that the user shall have are given
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A pin; all pins that the user shall have are given
    #[arg(long = "pin", value_name = "PIN")]
    pins: Vec<String>,
    /// Take all pins away
    #[arg(long, conflicts_with = "pins")]
    no_pins: bool,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Update {
    async fn run(self, app: &App) -> Result<Exit> {
        if self.roles.is_empty() && self.pins.is_empty() && !self.no_pins {
            return Err(Failure::usage("nothing to change is given").next("say --role, --pin or --no-pins"));
        }
        let vault = app.vault()?;
        let known = read(&vault, &self.name).await?;
        let keep = |given: Vec<String>, known: Vec<String>| if given.is_empty() { known } else { given };
        let before = in_words(&known.roles);
        let roles = keep(self.roles, known.roles);
        let certificate_pins = if self.no_pins { vec![] } else { keep(self.pins, known.certificate_pins) };
        if self.dry_run.asked() {
            let mut planned = Planned::new(format!("change the user {}", self.name), "OperatorService/UpdateOperator");
            planned.say("name", &self.name);
            planned.say("roles", &roles);
            planned.say("certificate_pins", &certificate_pins);
            planned.checked(format!("roles before: {before}"));
            return planned.show(app);
        }
        let attempt = vault.attempt(format!("change the user {}", self.name));
        let request = UpdateOperatorRequest { name: self.name, roles, certificate_pins, etag: known.etag };
        let changed = answer(&attempt, vault.client.operators().update_operator(request).await)?.into_inner();
        let operator = part(&attempt, changed.operator)?;
        app.out
            .result(&UserJson::new(&operator), |_| format!("user {} changed: {}", operator.name, in_words(&operator.roles)))?;
        Ok(Exit::Done)
    }
}

/// Set a password: your own, or another's as an admin
///
/// Ends the user's other sessions.
#[derive(Args)]
pub(crate) struct Passwd {
    /// The user [default: yourself]
    #[arg(add = crate::complete::users())]
    name: Option<String>,
    /// A file with the new password on its only line; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// A file with your old password on its only line; - for standard input
    #[arg(long, value_name = "FILE")]
    old_password_file: Option<String>,
}

#[derive(Serialize)]
struct PasswordJson<'a> {
    name: &'a str,
}

impl Passwd {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        let own =
            vault.principal.as_deref().and_then(|principal| principal.strip_prefix("operator:")).unwrap_or_default().to_owned();
        let name = self.name.unwrap_or_else(|| own.clone());
        let old = if name == own {
            let source = self.old_password_file.as_deref().map(Source::of_file);
            Some(match source {
                Some(source) => app.input.line(&source, PASSWORD_BYTES_MAX)?,
                None => hidden("Your old password", "use --old-password-file FILE", PASSWORD_BYTES_MAX)?,
            })
        } else {
            None
        };
        let new = new_password(app, self.password_file.as_deref(), &name)?;
        let own = old.is_some();
        let attempt = vault.attempt(format!("set the password of {name}"));
        let request = SetPasswordRequest {
            name: name.clone(),
            old_password: old.map(SecretString::into_exposed).unwrap_or_default(),
            new_password: new.into_exposed(),
        };
        answer(&attempt, vault.client.operators().set_password(request).await).map_err(|failure| match failure.exit {
            Exit::Denied if own => {
                failure.why("the old password is wrong, or the account has none yet").next("try again, or ask an admin")
            }
            _ => failure,
        })?;
        app.out.result(&PasswordJson { name: &name }, |_| format!("password of {name} set"))?;
        Ok(Exit::Done)
    }
}

/// Delete an account and end its sessions
#[derive(Args)]
pub(crate) struct Delete {
    /// The name
    #[arg(add = crate::complete::users())]
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
}

impl Delete {
    async fn run(self, app: &App) -> Result<Exit> {
        let vault = app.vault()?;
        if self.dry_run.asked() {
            let known = read(&vault, &self.name).await?;
            let mut planned = Planned::new(format!("delete the user {}", self.name), "OperatorService/DeleteOperator");
            planned.say("name", &self.name);
            planned.checked(format!("it is there, with {}", in_words(&known.roles)));
            return planned.show(app);
        }
        super::confirm(app, self.yes, &format!("Delete the user {} and end its sessions?", self.name))?;
        let attempt = vault.attempt(format!("delete the user {}", self.name));
        let request = DeleteOperatorRequest { name: self.name.clone(), etag: String::new() };
        answer(&attempt, vault.client.operators().delete_operator(request).await)?;
        app.out.result(&DeletedJson { deleted: &self.name }, |_| format!("user {} deleted", self.name))?;
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct UserJson<'a> {
    name: &'a str,
    roles: &'a [String],
    certificate_pins: &'a [String],
    has_password: bool,
    created: Option<String>,
}

impl<'a> UserJson<'a> {
    fn new(operator: &'a Operator) -> Self {
        Self {
            name: &operator.name,
            roles: &operator.roles,
            certificate_pins: &operator.certificate_pins,
            has_password: operator.has_password,
            created: rfc3339(operator.created.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_shown_with_how_they_log_in() {
        let operator = |name: &str, pins: usize, has_password| Operator {
            name: name.into(),
            roles: vec!["admin".into()],
            certificate_pins: vec!["ab".repeat(32); pins],
            has_password,
            created: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            etag: String::new(),
        };
        let view = View { now: jiff::Timestamp::from_second(30).unwrap(), width: None };
        let text = render(&[operator("alice", 1, true), operator("bo", 0, false), operator("cy", 2, false)], &view);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "NAME   ROLES  LOGIN                 AGE\n\
             alice  admin  password,certificate  30s\n\
             bo     admin  -                     30s\n\
             cy     admin  2 certificates        30s\n"
        );
    }
}
