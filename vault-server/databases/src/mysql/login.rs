//! Logging in: TLS first, where it is wanted, then the password as the server asks for it, never in plain without TLS.

use coffer_secret::{SecretBytes, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    client::{Told, told},
    packet::{Broken, Packets, Pieces, framed},
    scramble,
};
use crate::{DatabaseError, Fault, endpoint::Endpoint};

const CONNECT_WITH_DB: u32 = 1 << 3;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
/// What is asked of every server: long passwords and flags, the protocol since 4.1, transactions, many statements in one text,
/// many results, plugins. No files of ours, and no compression.
const WANTED: u32 = 1 | 1 << 2 | 1 << 9 | 1 << 13 | SECURE_CONNECTION | 1 << 16 | 1 << 17 | PLUGIN_AUTH;
/// Without these nothing works.
const NEEDED: u32 = 1 << 9 | SECURE_CONNECTION | PLUGIN_AUTH;
/// `utf8mb4_general_ci`, which all versions know.
const COLLATION: u8 = 45;
/// What a server may answer before one is in.
const STEPS_MAX: usize = 8;
/// Bytes of the first packet.
const GREETING_BYTES_MAX: usize = 1_024;

/// Who logs in, and where to.
pub(super) struct Login {
    pub(super) endpoint: Endpoint,
    pub(super) user: String,
    pub(super) password: SecretString,
    /// Empty for none.
    pub(super) database: String,
}

/// What a server says of itself.
struct Greeting {
    version: String,
    capabilities: u32,
    nonce: Vec<u8>,
    plugin: String,
}

impl Login {
    /// A connection on which the user is in, and the server's version.
    pub(super) async fn connect(&self) -> Result<(Packets, String), DatabaseError> {
        let mut stream = self.endpoint.dial().await?;
        // Read to the byte: what follows may be TLS.
        let mut header = [0; 4];
        stream.read_exact(&mut header).await.map_err(|error| unreadable(error.into()))?;
        let [a, b, 0, 0] = header else { return Err(unreadable(Broken::Protocol("this is no MySQL"))) };
        let length = usize::from(u16::from_le_bytes([a, b]));
        if length > GREETING_BYTES_MAX {
            return Err(unreadable(Broken::Protocol("this is no MySQL")));
        }
        let mut packet = vec![0; length];
        stream.read_exact(&mut packet).await.map_err(|error| unreadable(error.into()))?;
        if packet.first() == Some(&0xFF) {
            return Err(refused(&told(&packet)));
        }
        let greeting = Greeting::read(&packet).map_err(unreadable)?;
        let mut capabilities = WANTED & greeting.capabilities;
        if !self.database.is_empty() {
            capabilities |= CONNECT_WITH_DB;
        }
        let mut number = 1;
        if self.endpoint.is_protected() {
            if greeting.capabilities & SSL == 0 {
                return Err(DatabaseError::new(Fault::Unreachable, "the server does no TLS"));
            }
            capabilities |= SSL;
            let asked = framed(&opening(capabilities), number).map_err(unreadable)?;
            stream.write_all(asked.expose()).await.map_err(|error| unreadable(error.into()))?;
            number += 1;
        }
        let mut packets = Packets::new(self.endpoint.secure(stream).await?, number);
        self.log_in(&mut packets, &greeting, capabilities).await?;
        Ok((packets, greeting.version))
    }

    async fn log_in(&self, packets: &mut Packets, greeting: &Greeting, capabilities: u32) -> Result<(), DatabaseError> {
        // A server that begins with a plugin we do not know tells the one of this user next.
        let (first, plugin) = match self.shown(&greeting.plugin, &greeting.nonce) {
            Some(shown) => (shown, greeting.plugin.as_str()),
            None => (scramble::native(&self.password, &greeting.nonce), "mysql_native_password"),
        };
        let mut answer = SecretBytes::from(opening(capabilities).to_vec());
        answer.append(self.user.as_bytes());
        answer.append(&[0, u8::try_from(first.len()).unwrap_or(0)]);
        answer.append(first.expose());
        if !self.database.is_empty() {
            answer.append(self.database.as_bytes());
            answer.append(&[0]);
        }
        answer.append(plugin.as_bytes());
        answer.append(&[0]);
        packets.write(answer.expose()).await.map_err(unreadable)?;
        for _ in 0..STEPS_MAX {
            let packet = packets.read().await.map_err(unreadable)?;
            match packet.split_first() {
                Some((0x00, _)) => return Ok(()),
                Some((0xFF, _)) => return Err(refused(&told(&packet))),
                // Another plugin, with a nonce of its own.
                Some((0xFE, rest)) => {
                    let mut pieces = Pieces(rest);
                    let plugin = String::from_utf8_lossy(pieces.up_to_zero()).into_owned();
                    let shown = self.shown(&plugin, pieces.up_to_zero()).ok_or_else(|| unknown(&plugin))?;
                    packets.write(shown.expose()).await.map_err(unreadable)?;
                }
                // `caching_sha2_password`: it remembered the password,
                Some((0x01, [0x03])) => {}
                // or it did not, and wants it.
                Some((0x01, [0x04])) if self.endpoint.is_protected() => {
                    let mut password = SecretBytes::copied_from(self.password.expose().as_bytes());
                    password.append(&[0]);
                    packets.write(password.expose()).await.map_err(unreadable)?;
                }
                Some((0x01, [0x04])) => {
                    let detail = "the server wants the password itself (caching_sha2_password), which it gets over TLS alone";
                    return Err(DatabaseError::new(Fault::Configuration, detail));
                }
                _ => return Err(unreadable(Broken::Protocol("an answer that is none"))),
            }
        }
        Err(unreadable(Broken::Protocol("a login without an end")))
    }

    /// What a plugin wants to be shown; none for one that is not known.
    fn shown(&self, plugin: &str, nonce: &[u8]) -> Option<SecretBytes> {
        match plugin {
            "mysql_native_password" => Some(scramble::native(&self.password, nonce)),
            "caching_sha2_password" => Some(scramble::caching_sha2(&self.password, nonce)),
            _ => None,
        }
    }
}

impl Greeting {
    fn read(packet: &[u8]) -> Result<Self, Broken> {
        let mut pieces = Pieces(packet);
        if pieces.byte()? != 10 {
            return Err(Broken::Protocol("this is no MySQL"));
        }
        let version = String::from_utf8_lossy(pieces.up_to_zero()).into_owned();
        pieces.bytes(4)?;
        let mut nonce = pieces.bytes(8)?.to_vec();
        pieces.byte()?;
        let low = pieces.short()?;
        pieces.bytes(3)?;
        let capabilities = u32::from(low) | u32::from(pieces.short()?) << 16;
        if capabilities & NEEDED != NEEDED {
            return Err(Broken::Protocol("a server of before MySQL 5.5"));
        }
        // A length that is always 21, and what is not used.
        pieces.bytes(11)?;
        nonce.extend_from_slice(pieces.bytes(12)?);
        pieces.byte()?;
        let plugin = String::from_utf8_lossy(pieces.up_to_zero()).into_owned();
        Ok(Self { version, capabilities, nonce, plugin })
    }
}

/// What an answer to the greeting begins with: all of it, where TLS is asked for.
fn opening(capabilities: u32) -> [u8; 32] {
    let mut opening = [0; 32];
    let [a, b, c, d] = capabilities.to_le_bytes();
    let beginning = [a, b, c, d, 0xFF, 0xFF, 0xFF, 0, COLLATION];
    for (place, byte) in opening.iter_mut().zip(beginning) {
        *place = byte;
    }
    opening
}

fn unreadable(error: Broken) -> DatabaseError {
    DatabaseError::new(Fault::Unreachable, error.to_string())
}

fn unknown(plugin: &str) -> DatabaseError {
    let detail =
        format!("the vault's user is to log in by {plugin:?}: mysql_native_password and caching_sha2_password are known");
    DatabaseError::new(Fault::Refused, detail)
}

/// Why one is not let in.
fn refused(told: &Told) -> DatabaseError {
    let fault = match told.code {
        // Too many connections: of all, of this user, of this user by its own limits.
        1040 | 1203 | 1226 => Fault::Busy,
        // The server is going down.
        1053 => Fault::Unreachable,
        _ => Fault::Refused,
    };
    DatabaseError::new(fault, told.to_string())
}

#[cfg(test)]
mod tests;
