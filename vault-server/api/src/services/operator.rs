//! `OperatorService`.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use coffer_core::{
    action::Action,
    policy::Resource,
    principal::{Name, Principal, Role},
};
use coffer_proto::v1::{
    CreateOperatorRequest, CreateOperatorResponse, DeleteOperatorRequest, DeleteOperatorResponse, GetOperatorRequest,
    GetOperatorResponse, ListOperatorsRequest, ListOperatorsResponse, Operator, SetPasswordRequest, SetPasswordResponse,
    UpdateOperatorRequest, UpdateOperatorResponse, operator_service_server::OperatorService,
};
use coffer_secret::SecretString;
use coffer_vault::{Failure, NewOperator, OperatorRecord, Planned, Row, etag, parse_pins};

use super::{convert, service};
use crate::{
    page::Page,
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { OperatorService:
    create_operator(CreateOperatorRequest) -> CreateOperatorResponse = Create;
    get_operator(GetOperatorRequest) -> GetOperatorResponse = Get;
    list_operators(ListOperatorsRequest) -> ListOperatorsResponse = List;
    update_operator(UpdateOperatorRequest) -> UpdateOperatorResponse = Update;
    set_password(SetPasswordRequest) -> SetPasswordResponse = SetPassword;
    delete_operator(DeleteOperatorRequest) -> DeleteOperatorResponse = Delete;
}

fn operator(name: &str, row: &Row<OperatorRecord>) -> Operator {
    Operator {
        name: name.to_owned(),
        roles: row.value.roles.iter().cloned().collect(),
        certificate_pins: row.value.certificate_pins.iter().cloned().collect(),
        has_password: row.value.password.is_some(),
        created: convert::time(row.value.created),
        etag: etag(row),
    }
}

fn roles(names: &[String]) -> Result<BTreeSet<Role>, Failure> {
    Ok(names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?)
}

fn about(name: &Name, roles: Option<&BTreeSet<Role>>) -> BTreeMap<String, String> {
    let mut details = BTreeMap::from([("operator".to_owned(), name.to_string())]);
    if let Some(roles) = roles {
        let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
        details.insert("roles".to_owned(), names.join(","));
    }
    details
}

struct Create {
    name: Name,
    roles: BTreeSet<Role>,
    password: Option<SecretString>,
    hash: Option<String>,
    pins: BTreeSet<String>,
}

#[async_trait]
impl Operation for Create {
    type Request = CreateOperatorRequest;
    type Response = CreateOperatorResponse;
    const RPC: Rpc = rpc::CREATE_OPERATOR;
    const CHANGES_VAULT: bool = true;

    fn parse(request: CreateOperatorRequest) -> Result<Self, Failure> {
        let password = SecretString::from(request.password);
        Ok(Self {
            name: convert::name(&request.name)?,
            roles: roles(&request.roles)?,
            password: (!password.is_empty()).then_some(password),
            hash: None,
            pins: parse_pins(request.certificate_pins)?,
        })
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.name, Some(&self.roles))
    }

    fn idempotency_key(request: &CreateOperatorRequest) -> &str {
        &request.idempotency_key
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        if let Some(password) = self.password.take() {
            self.hash = Some(call.vault.hash_password(password).await?);
        }
        Ok(())
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<CreateOperatorResponse>, Failure> {
        let new = NewOperator {
            name: self.name.clone(),
            roles: self.roles.clone(),
            password: self.hash.clone(),
            certificate_pins: self.pins.clone(),
        };
        let planned = call.vault.create_operator(&call.who.caller, new)?;
        Ok(planned.map(|row| CreateOperatorResponse { operator: Some(operator(self.name.as_str(), &row)) }))
    }
}

struct Get(Name);

#[async_trait]
impl Operation for Get {
    type Request = GetOperatorRequest;
    type Response = GetOperatorResponse;
    const RPC: Rpc = rpc::GET_OPERATOR;

    fn parse(request: GetOperatorRequest) -> Result<Self, Failure> {
        convert::name(&request.name).map(Self)
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.0, None)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetOperatorResponse>, Failure> {
        let row = call.vault.operator(&self.0)?;
        Ok(Planned::read(GetOperatorResponse { operator: Some(operator(self.0.as_str(), &row)) }))
    }
}

struct List(Page);

#[async_trait]
impl Operation for List {
    type Request = ListOperatorsRequest;
    type Response = ListOperatorsResponse;
    const RPC: Rpc = rpc::LIST_OPERATORS;

    fn parse(request: ListOperatorsRequest) -> Result<Self, Failure> {
        Page::parse(request.page_size, request.page_token).map(Self)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ListOperatorsResponse>, Failure> {
        const LIST: &str = "operators";
        let after = self.0.after(&call.vault, LIST)?;
        let (rows, more) = call.vault.operators(&after, self.0.size());
        let last = rows.last().map(|(name, _)| name.as_str());
        let next_page_token = Page::next(&call.vault, LIST, last, more)?;
        let operators = rows.iter().map(|(name, row)| operator(name, row)).collect();
        Ok(Planned::read(ListOperatorsResponse { operators, next_page_token }))
    }
}

struct Update {
    name: Name,
    roles: BTreeSet<Role>,
    pins: BTreeSet<String>,
    etag: String,
}

#[async_trait]
impl Operation for Update {
    type Request = UpdateOperatorRequest;
    type Response = UpdateOperatorResponse;
    const RPC: Rpc = rpc::UPDATE_OPERATOR;
    const CHANGES_VAULT: bool = true;

    fn parse(request: UpdateOperatorRequest) -> Result<Self, Failure> {
        Ok(Self {
            name: convert::name(&request.name)?,
            roles: roles(&request.roles)?,
            pins: parse_pins(request.certificate_pins)?,
            etag: request.etag,
        })
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.name, Some(&self.roles))
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<UpdateOperatorResponse>, Failure> {
        let (caller, pins) = (&call.who.caller, self.pins.clone());
        let planned = call.vault.update_operator(caller, &self.name, &self.roles, pins, &self.etag)?;
        Ok(planned.map(|row| UpdateOperatorResponse { operator: Some(operator(self.name.as_str(), &row)) }))
    }
}

struct SetPassword {
    name: Option<Name>,
    old: Option<SecretString>,
    new: Option<SecretString>,
    hash: Option<String>,
}

impl SetPassword {
    fn target(&self, call: &Call) -> Result<Name, Failure> {
        match (&self.name, &call.who.caller.principal) {
            (Some(name), _) | (None, Principal::Operator(name)) => Ok(name.clone()),
            (None, _) => Err(Failure::invalid("only an operator has a password")),
        }
    }
}

#[async_trait]
impl Operation for SetPassword {
    type Request = SetPasswordRequest;
    type Response = SetPasswordResponse;
    const RPC: Rpc = rpc::SET_PASSWORD;
    const CHANGES_VAULT: bool = true;

    fn parse(request: SetPasswordRequest) -> Result<Self, Failure> {
        let (old, new) = (SecretString::from(request.old_password), SecretString::from(request.new_password));
        let name = if request.name.is_empty() { None } else { Some(convert::name(&request.name)?) };
        Ok(Self { name, old: Some(old), new: Some(new), hash: None })
    }

    fn details(&self) -> BTreeMap<String, String> {
        self.name.as_ref().map(|name| about(name, None)).unwrap_or_default()
    }

    async fn prepare(&mut self, call: &Call) -> Result<(), Failure> {
        let target = self.target(call)?;
        let own = call.who.caller.principal == Principal::Operator(target.clone());
        let old = self.old.take().unwrap_or_else(|| SecretString::from(String::new()));
        if own {
            if !call.vault.password_holds(target.as_str(), old).await? {
                return Err(Failure::not_found_or_denied());
            }
        } else if !call.who.caller.roles.contains(&Role::Admin) || !call.permits(Action::OperatorsManage, &Resource::System) {
            return Err(Failure::not_found_or_denied());
        }
        let new = self.new.take().ok_or_else(|| Failure::internal("a password was used up"))?;
        self.hash = Some(call.vault.hash_password(new).await?);
        Ok(())
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<SetPasswordResponse>, Failure> {
        let hash = self.hash.clone().ok_or_else(|| Failure::internal("a password was not hashed"))?;
        let keep = Some(call.who.claims.id);
        let planned = call.vault.set_password(&call.who.caller, &self.target(call)?, hash, keep)?;
        Ok(planned.map(|_| SetPasswordResponse {}))
    }
}

struct Delete {
    name: Name,
    etag: String,
}

#[async_trait]
impl Operation for Delete {
    type Request = DeleteOperatorRequest;
    type Response = DeleteOperatorResponse;
    const RPC: Rpc = rpc::DELETE_OPERATOR;
    const CHANGES_VAULT: bool = true;

    fn parse(request: DeleteOperatorRequest) -> Result<Self, Failure> {
        Ok(Self { name: convert::name(&request.name)?, etag: request.etag })
    }

    fn details(&self) -> BTreeMap<String, String> {
        about(&self.name, None)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<DeleteOperatorResponse>, Failure> {
        let planned = call.vault.delete_operator(&call.who.caller, &self.name, &self.etag)?;
        Ok(planned.map(|()| DeleteOperatorResponse {}))
    }
}
