//! `TransitService`: keys. What is done with them is in [`using`].

mod using;

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{
    CreateTransitKeyRequest, CreateTransitKeyResponse, DeleteTransitKeyRequest, DeleteTransitKeyResponse, GetTransitKeyRequest,
    GetTransitKeyResponse, GetWrappingKeyRequest, GetWrappingKeyResponse, ImportTransitKeyRequest, ImportTransitKeyResponse,
    ListTransitKeysRequest, ListTransitKeysResponse, RotateTransitKeyRequest, RotateTransitKeyResponse, TransitKeyVersion,
    TrimTransitKeyRequest, TrimTransitKeyResponse, UpdateTransitKeyRequest, UpdateTransitKeyResponse,
    transit_service_server::TransitService,
};
use coffer_vault::{
    Failure, Planned, TransitPath,
    transit::{KeyChange, NewKey},
};

use self::using::{CreateDataKey, CreateWrappedDataKey, Decrypt, Encrypt, GetRandom, Hmac, Rewrap, Sign, Verify};
use super::{convert, service};
use crate::{
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

service! { TransitService:
    create_transit_key(CreateTransitKeyRequest) -> CreateTransitKeyResponse = Create;
    import_transit_key(ImportTransitKeyRequest) -> ImportTransitKeyResponse = Import;
    get_wrapping_key(GetWrappingKeyRequest) -> GetWrappingKeyResponse = GetWrappingKey;
    get_transit_key(GetTransitKeyRequest) -> GetTransitKeyResponse = Get;
    list_transit_keys(ListTransitKeysRequest) -> ListTransitKeysResponse = List;
    rotate_transit_key(RotateTransitKeyRequest) -> RotateTransitKeyResponse = Rotate;
    update_transit_key(UpdateTransitKeyRequest) -> UpdateTransitKeyResponse = Update;
    trim_transit_key(TrimTransitKeyRequest) -> TrimTransitKeyResponse = Trim;
    delete_transit_key(DeleteTransitKeyRequest) -> DeleteTransitKeyResponse = Delete;
    encrypt(EncryptRequest) -> EncryptResponse = Encrypt;
    decrypt(DecryptRequest) -> DecryptResponse = Decrypt;
    rewrap(RewrapRequest) -> RewrapResponse = Rewrap;
    sign_data(SignDataRequest) -> SignDataResponse = Sign;
    verify_data(VerifyDataRequest) -> VerifyDataResponse = Verify;
    hmac(HmacRequest) -> HmacResponse = Hmac;
    create_data_key(CreateDataKeyRequest) -> CreateDataKeyResponse = CreateDataKey;
    create_wrapped_data_key(CreateWrappedDataKeyRequest) -> CreateWrappedDataKeyResponse = CreateWrappedDataKey;
    get_random(GetRandomRequest) -> GetRandomResponse = GetRandom;
}

/// The directory of keys.
const KEYS: &str = "keys";

struct Import {
    path: TransitPath,
    new: NewKey,
    wrapped: Vec<u8>,
    as_version: bool,
}

#[async_trait]
impl Operation for Import {
    type Request = ImportTransitKeyRequest;
    type Response = ImportTransitKeyResponse;
    const RPC: Rpc = rpc::IMPORT_TRANSIT_KEY;

    fn parse(request: ImportTransitKeyRequest) -> Result<Self, Failure> {
        let new = NewKey { kind: request.r#type.parse()?, deletable: request.deletion_allowed };
        let path = TransitPath::of_key(&request.path, KEYS)?;
        Ok(Self { path, new, wrapped: request.wrapped, as_version: request.as_version })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<ImportTransitKeyResponse>, Failure> {
        let planned = call.vault.import_transit_key(&self.path, self.new, self.as_version, &self.wrapped).await?;
        call.record.detail("version", planned.answer);
        Ok(planned.map(|version| ImportTransitKeyResponse { version }))
    }
}

struct Rotate(TransitPath);

#[async_trait]
impl Operation for Rotate {
    type Request = RotateTransitKeyRequest;
    type Response = RotateTransitKeyResponse;
    const RPC: Rpc = rpc::ROTATE_TRANSIT_KEY;

    fn parse(request: RotateTransitKeyRequest) -> Result<Self, Failure> {
        TransitPath::of_key(&request.path, KEYS).map(Self)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    fn idempotency_key(request: &RotateTransitKeyRequest) -> &str {
        &request.idempotency_key
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<RotateTransitKeyResponse>, Failure> {
        let planned = call.vault.rotate_transit_key(&self.0).await?;
        call.record.detail("version", planned.answer);
        Ok(planned.map(|version| RotateTransitKeyResponse { version }))
    }
}

/// The RPCs that are a path, what else is read of the request where there is something, and one call.
macro_rules! of_path {
    ($($operation:ident: $request:ident -> $response:ident, $rpc:ident, $path:ident,
        $($with:ident: $type:ty = |$given:ident| $read:expr,)? |$self:ident, $call:ident| $run:expr;)*) => {$(
        struct $operation {
            path: TransitPath,
            $($with: $type,)?
        }

        #[async_trait]
        impl Operation for $operation {
            type Request = $request;
            type Response = $response;
            const RPC: Rpc = rpc::$rpc;

            fn parse(request: $request) -> Result<Self, Failure> {
                let path = TransitPath::$path(&request.path, KEYS)?;
                $(let $given = request;)?
                Ok(Self { path, $($with: $read)? })
            }

            fn path(&self) -> Option<&Path> {
                Some(&self.path.path)
            }

            async fn run(&$self, $call: &mut Call) -> Result<Planned<$response>, Failure> {
                Ok($run)
            }
        }
    )*};
}

of_path! {
    Create: CreateTransitKeyRequest -> CreateTransitKeyResponse, CREATE_TRANSIT_KEY, of_key,
        new: NewKey = |request| NewKey { kind: request.r#type.parse()?, deletable: request.deletion_allowed },
        |self, call| call.vault.create_transit_key(&self.path, self.new).await?.map(|_| CreateTransitKeyResponse {});
    Update: UpdateTransitKeyRequest -> UpdateTransitKeyResponse, UPDATE_TRANSIT_KEY, of_key,
        change: KeyChange = |request| KeyChange {
            min_decrypt: request.min_decrypt_version,
            min_encrypt: request.min_encrypt_version,
            deletable: request.deletion_allowed,
        },
        |self, call| call.vault.update_transit_key(&self.path, self.change).await?.map(|()| UpdateTransitKeyResponse {});
    Trim: TrimTransitKeyRequest -> TrimTransitKeyResponse, TRIM_TRANSIT_KEY, of_key,
        |self, call| {
            let planned = call.vault.trim_transit_key(&self.path).await?;
            call.record.detail("erased", planned.answer);
            planned.map(|erased| TrimTransitKeyResponse { erased: u32::try_from(erased).unwrap_or(u32::MAX) })
        };
    Delete: DeleteTransitKeyRequest -> DeleteTransitKeyResponse, DELETE_TRANSIT_KEY, of_key,
        |self, call| call.vault.delete_transit_key(&self.path).await?.map(|()| DeleteTransitKeyResponse {});
    GetWrappingKey: GetWrappingKeyRequest -> GetWrappingKeyResponse, GET_WRAPPING_KEY, of_mount,
        |self, call| call.vault.wrapping_key(&self.path).await?.map(|recipient| GetWrappingKeyResponse { recipient });
    List: ListTransitKeysRequest -> ListTransitKeysResponse, LIST_TRANSIT_KEYS, of_mount,
        |self, call| Planned::read(ListTransitKeysResponse { names: call.vault.transit_keys(&self.path).await? });
    Get: GetTransitKeyRequest -> GetTransitKeyResponse, GET_TRANSIT_KEY, of_key,
        |self, call| {
            let info = call.vault.transit_key(&self.path).await?;
            let versions = info.versions.into_iter().map(|version| TransitKeyVersion {
                version: version.number,
                created: convert::time(version.created),
                imported: version.imported,
                public_key_pem: version.public_pem.unwrap_or_default(),
            });
            Planned::read(GetTransitKeyResponse {
                r#type: info.kind.to_string(),
                versions: versions.collect(),
                min_decrypt_version: info.min_decrypt,
                min_encrypt_version: info.min_encrypt,
                deletion_allowed: info.deletable,
                created: convert::time(info.created),
            })
        };
}
