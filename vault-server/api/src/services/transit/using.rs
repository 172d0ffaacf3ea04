//! What is done with keys.

use async_trait::async_trait;
use coffer_core::path::Path;
use coffer_proto::v1::{
    CreateDataKeyRequest, CreateDataKeyResponse, CreateWrappedDataKeyRequest, CreateWrappedDataKeyResponse, DecryptRequest,
    DecryptResponse, DecryptResult, EncryptRequest, EncryptResponse, EncryptResult, GetRandomRequest, GetRandomResponse,
    HmacRequest, HmacResponse, HmacResult, RewrapRequest, RewrapResponse, RewrapResult, SignDataRequest, SignDataResponse,
    SignDataResult, TransitFailure, VerifyDataRequest, VerifyDataResponse, VerifyDataResult,
};
use coffer_secret::SecretBytes;
use coffer_vault::{Failure, Item, Planned, TransitPath, transit::weight};

use crate::{
    pipeline::{Call, Operation},
    rpc::{self, Rpc},
};

/// An item, of whichever RPC: what it does not have is empty.
#[derive(Default)]
pub(super) struct Work {
    /// Plaintext or message.
    input: SecretBytes,
    associated: Vec<u8>,
    /// Ciphertext or signature.
    text: String,
    version: u32,
}

impl Item for Work {
    fn bytes(&self) -> usize {
        self.input.len() + self.associated.len() + weight(&self.text)
    }
}

fn failed(failure: &Failure) -> Option<TransitFailure> {
    Some(TransitFailure { reason: failure.reason.code().to_owned(), message: failure.message.clone().into_owned() })
}

/// The RPCs that do one thing for each item.
macro_rules! of_items {
    ($($operation:ident: $request:ident -> $response:ident of $result:ident, $rpc:ident, $what:literal,
        |$item:ident| { $($field:ident: $read:expr),* },
        |$key:ident, $work:ident| $act:expr => { $version:ident, $($out:ident: $made:expr),* };)*) => {$(
        pub(super) struct $operation {
            path: TransitPath,
            items: Vec<Work>,
        }

        #[async_trait]
        impl Operation for $operation {
            type Request = $request;
            type Response = $response;
            const RPC: Rpc = rpc::$rpc;

            fn parse(request: $request) -> Result<Self, Failure> {
                let items = request.items.into_iter().map(|$item| Work { $($field: $read,)* ..Work::default() });
                Ok(Self { items: items.collect(), path: TransitPath::of_key(&request.path, $what)? })
            }

            fn path(&self) -> Option<&Path> {
                Some(&self.path.path)
            }

            async fn run(&self, call: &mut Call) -> Result<Planned<$response>, Failure> {
                let act = |$key: &coffer_vault::transit::TransitKey, $work: &Work| $act;
                let done = call.vault.use_transit_key(&self.path, &self.items, &mut call.record, act).await?;
                let results = done.into_iter().map(|result| match result {
                    Ok(($version, made)) => {
                        $(let $out = ($made)(made);)*
                        $result { $($out,)* version: $version, failure: None }
                    }
                    Err(failure) => $result { failure: failed(&failure), ..Default::default() },
                });
                Ok(Planned::read($response { results: results.collect() }))
            }
        }
    )*};
}

fn as_is<T>(made: T) -> T {
    made
}

of_items! {
    Encrypt: EncryptRequest -> EncryptResponse of EncryptResult, ENCRYPT, "encrypt",
        |item| { input: item.plaintext.into(), associated: item.associated_data, version: item.version },
        |key, work| key.encrypt(work.version, &work.associated, &work.input) => { version, ciphertext: as_is };
    Decrypt: DecryptRequest -> DecryptResponse of DecryptResult, DECRYPT, "decrypt",
        |item| { text: item.ciphertext, associated: item.associated_data },
        |key, work| key.decrypt(&work.associated, &work.text) => { version, plaintext: SecretBytes::into_exposed };
    Rewrap: RewrapRequest -> RewrapResponse of RewrapResult, REWRAP, "rewrap",
        |item| { text: item.ciphertext, associated: item.associated_data, version: item.version },
        |key, work| key.rewrap(work.version, &work.associated, &work.text) => { version, ciphertext: as_is };
    Sign: SignDataRequest -> SignDataResponse of SignDataResult, SIGN_DATA, "sign",
        |item| { input: item.message.into(), version: item.version },
        |key, work| key.sign(work.version, work.input.expose()) => { version, signature: as_is };
    Verify: VerifyDataRequest -> VerifyDataResponse of VerifyDataResult, VERIFY_DATA, "verify",
        |item| { input: item.message.into(), text: item.signature },
        |key, work| key.verify(work.input.expose(), &work.text) => { version, valid: as_is };
    Hmac: HmacRequest -> HmacResponse of HmacResult, HMAC, "hmac",
        |item| { input: item.message.into(), version: item.version },
        |key, work| key.hmac(work.version, work.input.expose()) => { version, hmac: as_is };
}

pub(super) struct CreateDataKey {
    path: TransitPath,
    bytes: u32,
    associated: Vec<u8>,
}

#[async_trait]
impl Operation for CreateDataKey {
    type Request = CreateDataKeyRequest;
    type Response = CreateDataKeyResponse;
    const RPC: Rpc = rpc::CREATE_DATA_KEY;

    fn parse(request: CreateDataKeyRequest) -> Result<Self, Failure> {
        let path = TransitPath::of_key(&request.path, "datakey")?;
        Ok(Self { path, bytes: request.key_bytes, associated: request.associated_data })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<CreateDataKeyResponse>, Failure> {
        let made = call.vault.data_key(&self.path, length(self.bytes), &self.associated).await?;
        let (plaintext, ciphertext) = (made.plaintext.into_exposed(), made.ciphertext);
        Ok(Planned::read(CreateDataKeyResponse { plaintext, ciphertext, version: made.version, receipt: 0 }))
    }

    fn receipt(response: &mut CreateDataKeyResponse, index: u64) {
        response.receipt = index;
    }
}

pub(super) struct CreateWrappedDataKey {
    path: TransitPath,
    bytes: u32,
    associated: Vec<u8>,
}

#[async_trait]
impl Operation for CreateWrappedDataKey {
    type Request = CreateWrappedDataKeyRequest;
    type Response = CreateWrappedDataKeyResponse;
    const RPC: Rpc = rpc::CREATE_WRAPPED_DATA_KEY;

    fn parse(request: CreateWrappedDataKeyRequest) -> Result<Self, Failure> {
        let path = TransitPath::of_key(&request.path, "datakey")?;
        Ok(Self { path, bytes: request.key_bytes, associated: request.associated_data })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<CreateWrappedDataKeyResponse>, Failure> {
        let made = call.vault.data_key(&self.path, length(self.bytes), &self.associated).await?;
        Ok(Planned::read(CreateWrappedDataKeyResponse { ciphertext: made.ciphertext, version: made.version }))
    }
}

pub(super) struct GetRandom {
    path: TransitPath,
    bytes: u32,
}

#[async_trait]
impl Operation for GetRandom {
    type Request = GetRandomRequest;
    type Response = GetRandomResponse;
    const RPC: Rpc = rpc::GET_RANDOM;

    fn parse(request: GetRandomRequest) -> Result<Self, Failure> {
        Ok(Self { path: TransitPath::of_mount(&request.path, "random")?, bytes: request.random_bytes })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path.path)
    }

    async fn run(&self, call: &mut Call) -> Result<Planned<GetRandomResponse>, Failure> {
        let random = call.vault.transit_random(&self.path, length(self.bytes))?.into_exposed();
        Ok(Planned::read(GetRandomResponse { random }))
    }
}

/// A length that no limit allows, where it has no room.
fn length(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
