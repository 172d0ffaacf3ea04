//! A connection to MySQL that is in use: texts of statements, and the rows that come back.

use std::fmt;

use super::packet::{Broken, Packets, Pieces};

const QUERY: u8 = 0x03;
const PING: u8 = 0x0E;
/// Another result follows.
const MORE_RESULTS: u16 = 1 << 3;
/// Columns of a result.
const COLUMNS_MAX: u64 = 64;

/// What a server said of a statement.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) code: u16,
    pub(super) words: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.words)
    }
}

/// Why a statement was not done.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server said so.
    Told(Told),
    /// There is no server to say anything.
    Broken(Broken),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// A row: texts, or nothing.
pub(super) type Row = Vec<Option<String>>;

/// A connection.
pub(crate) struct Client {
    packets: Packets,
    /// Whether this is MariaDB, whose variables and statements differ.
    pub(super) is_mariadb: bool,
}

impl Client {
    pub(super) fn new(packets: Packets, version: &str) -> Self {
        Self { packets, is_mariadb: version.contains("MariaDB") }
    }

    /// Runs a text of one or more statements; gives the rows of all of them. Later ones are not run where one fails.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Row>, Failed> {
        let mut command = coffer_secret::SecretBytes::with_capacity(sql.len() + 1);
        command.append(&[QUERY]);
        command.append(sql.as_bytes());
        self.packets.begin();
        self.packets.write(command.expose()).await?;
        let mut rows = Vec::new();
        while self.result(&mut rows).await? & MORE_RESULTS != 0 {}
        Ok(rows)
    }

    /// Sees that the server is there.
    pub(super) async fn ping(&mut self) -> Result<(), Failed> {
        self.packets.begin();
        self.packets.write(&[PING]).await?;
        self.result(&mut Vec::new()).await.map(drop)
    }

    /// Reads one result; gives the server's state after it.
    async fn result(&mut self, rows: &mut Vec<Row>) -> Result<u16, Failed> {
        let packet = self.packets.read().await?;
        let columns = match packet.split_first() {
            Some((0x00, rest)) => {
                let mut pieces = Pieces(rest);
                pieces.number()?;
                pieces.number()?;
                return Ok(pieces.short()?);
            }
            Some((0xFF, _)) => return Err(Failed::Told(told(&packet))),
            // It asks for a file of ours, which it was told that it does not get.
            Some((0xFB, _)) => return Err(Broken::Protocol("the server asks for a file").into()),
            _ => Pieces(&packet).number()?.filter(|&columns| columns <= COLUMNS_MAX),
        };
        let columns = columns.ok_or(Broken::Protocol("an answer that is none"))?;
        for _ in 0..columns {
            self.packets.read().await?;
        }
        if end(&self.packets.read().await?)?.is_none() {
            return Err(Broken::Protocol("columns without an end").into());
        }
        loop {
            let packet = self.packets.read().await?;
            if packet.first() == Some(&0xFF) {
                return Err(Failed::Told(told(&packet)));
            }
            if let Some(state) = end(&packet)? {
                return Ok(state);
            }
            let mut pieces = Pieces(&packet);
            let mut row = Row::new();
            for _ in 0..columns {
                row.push(pieces.value()?.map(|value| String::from_utf8_lossy(value).into_owned()));
            }
            rows.push(row);
        }
    }
}

/// The server's state, where a packet ends columns or rows.
fn end(packet: &[u8]) -> Result<Option<u16>, Broken> {
    match packet.split_first() {
        // A row can begin so, too, but is longer then.
        Some((0xFE, rest)) if rest.len() < 8 => {
            let mut pieces = Pieces(rest);
            pieces.short()?;
            pieces.short().map(Some)
        }
        _ => Ok(None),
    }
}

/// What a packet says that is an error.
pub(super) fn told(packet: &[u8]) -> Told {
    let mut pieces = Pieces(packet.get(1..).unwrap_or_default());
    let code = pieces.short().unwrap_or(0);
    // `#` and five characters of a state, but before one is in.
    if pieces.0.first() == Some(&b'#') {
        pieces.0 = pieces.0.get(6..).unwrap_or_default();
    }
    Told { code, words: String::from_utf8_lossy(pieces.0).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(packets: &[&[u8]]) -> Client {
        let mut bytes = Vec::new();
        for (number, packet) in (1..).zip(packets) {
            bytes.extend([u8::try_from(packet.len()).unwrap(), 0, 0, number]);
            bytes.extend(*packet);
        }
        let stream = tokio::io::join(std::io::Cursor::new(bytes), tokio::io::sink());
        Client::new(Packets::new(Box::new(stream), 0), "8.4.0")
    }

    const END: &[u8] = &[0xFE, 0, 0, 2, 0];
    const END_MORE: &[u8] = &[0xFE, 0, 0, 8, 0];

    #[tokio::test]
    async fn the_rows_of_all_results_are_read() {
        let column: &[u8] = &[3, b'd', b'e', b'f'];
        let mut client = answering(&[
            &[2],
            column,
            column,
            END,
            &[1, b'a', 0xFB],
            &[0, 2, b'b', b'c'],
            END_MORE,               // two rows,
            &[0, 0, 0, 8, 0, 0, 0], // nothing,
            &[1],
            column,
            END,
            END, // none.
        ]);
        let rows = client.query("SELECT").await.unwrap();
        assert_eq!(rows, [vec![Some("a".to_owned()), None], vec![Some(String::new()), Some("bc".to_owned())]]);
    }

    #[tokio::test]
    async fn an_error_is_told_with_its_number_also_after_rows() {
        let error: &[u8] = b"\xFF\x15\x04#28000Access denied";
        for mut client in [answering(&[error]), answering(&[&[0, 0, 0, 8, 0, 0, 0], error]), answering(&[&[1], &[0], END, error])]
        {
            let Err(Failed::Told(told)) = client.query("SELECT").await else { panic!("it failed") };
            assert_eq!((told.code, told.to_string().as_str()), (1_045, "1045 Access denied"));
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_breaks_the_connection() {
        for packets in [
            [[0xFB, b'/', b'e', b't', b'c'].as_slice()].as_slice(),
            &[&[]],
            &[&[0xFC, 0xFF, 0xFF]],
            &[&[1], &[0], &[0], END],
            &[&[1], &[0], END, &[9, b'a']],
            &[&[0, 0]],
        ] {
            assert!(matches!(answering(packets).query("SELECT").await, Err(Failed::Broken(_))), "{packets:?}");
        }
    }
}
