//! Writing DER (X.690): each value behind its tag and its length.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The tag of a context-specific value that stands for itself.
pub(super) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// The tag of a context-specific value that holds others.
pub(super) const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// A value in the making.
#[derive(Default)]
pub(super) struct Der(Vec<u8>);

impl Der {
    /// One value.
    pub(super) fn build(tag: u8, fill: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut der = Self::default();
        der.within(tag, fill);
        der.0
    }

    /// A value that holds others.
    pub(super) fn within(&mut self, tag: u8, fill: impl FnOnce(&mut Self)) {
        self.0.push(tag);
        let start = self.0.len();
        fill(self);
        let length = length(self.0.len() - start);
        self.0.splice(start..start, length);
    }

    /// A value of these bytes.
    pub(super) fn value(&mut self, tag: u8, content: &[u8]) {
        self.0.push(tag);
        self.0.extend(length(content.len()));
        self.0.extend_from_slice(content);
    }

    /// A value that is encoded already.
    pub(super) fn raw(&mut self, encoded: &[u8]) {
        self.0.extend_from_slice(encoded);
    }

    /// A number that is not negative, of these bytes, the highest first.
    pub(super) fn unsigned(&mut self, magnitude: &[u8]) {
        let start = magnitude.iter().position(|byte| *byte != 0).unwrap_or(magnitude.len());
        let digits = magnitude.get(start..).unwrap_or_default();
        match digits.first() {
            None => self.value(INTEGER, &[0]),
            Some(first) if *first >= 0x80 => self.value(INTEGER, &[&[0], digits].concat()),
            Some(_) => self.value(INTEGER, digits),
        }
    }

    /// `TRUE`.
    pub(super) fn yes(&mut self) {
        self.value(BOOLEAN, &[0xff]);
    }

    /// A bit string of whole bytes.
    pub(super) fn bits(&mut self, bytes: &[u8]) {
        self.value(BIT_STRING, &[&[0], bytes].concat());
    }

    /// A bit string of named bits, the first named the highest: without the zeros at its end, as DER wants it.
    pub(super) fn named_bits(&mut self, bits: u16) {
        let unused = bits.trailing_zeros().min(16);
        let bytes = bits.to_be_bytes();
        let used = bytes.get(..usize::try_from(16_u32.saturating_sub(unused).div_ceil(8)).unwrap_or(0)).unwrap_or_default();
        let unused = if bits == 0 { 0 } else { u8::try_from(unused % 8).unwrap_or(0) };
        self.value(BIT_STRING, &[&[unused], used].concat());
    }

    /// A moment, in seconds since 1970: with two digits of the year until 2049, as RFC 5280 wants it.
    pub(super) fn time(&mut self, secs: u64) {
        let (year, month, day) = date(secs / 86_400);
        let (hour, minute, second) = (secs / 3_600 % 24, secs / 60 % 60, secs % 60);
        let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
        if (1950..2050).contains(&year) {
            self.value(UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes());
        } else {
            self.value(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes());
        }
    }
}

fn length(content: usize) -> Vec<u8> {
    match u8::try_from(content) {
        Ok(short) if short < 0x80 => vec![short],
        _ => {
            let bytes: Vec<u8> = content.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            let head = 0x80 | u8::try_from(bytes.len()).unwrap_or(0x7f);
            [vec![head], bytes].concat()
        }
    }
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
const fn date(days: u64) -> (u64, u64, u64) {
    // Eras of 400 years that begin in March, so that the leap day is a year's last (H. Hinnant, "chrono-compatible dates").
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_numbers_and_bits_are_those_of_x690() {
        let number = |bytes: &[u8]| Der::build(SEQUENCE, |der| der.unsigned(bytes));
        assert_eq!(number(&[0, 0]), [0x30, 3, 2, 1, 0]);
        assert_eq!(number(&[0, 0x7f]), [0x30, 3, 2, 1, 0x7f]);
        assert_eq!(number(&[0x80]), [0x30, 4, 2, 2, 0, 0x80]);
        assert_eq!(length(127), [0x7f]);
        assert_eq!(length(128), [0x81, 0x80]);
        assert_eq!(length(65_536), [0x83, 1, 0, 0]);
        let bits = |bits: u16| Der::build(SEQUENCE, |der| der.named_bits(bits));
        assert_eq!(bits(0b1000_0000 << 8), [0x30, 4, 3, 2, 7, 0x80]);
        assert_eq!(bits(0b0000_0110 << 8), [0x30, 4, 3, 2, 1, 6]);
        assert_eq!(bits(0b1000_0000_1000_0000), [0x30, 5, 3, 3, 7, 0x80, 0x80]);
        assert_eq!(bits(0), [0x30, 3, 3, 1, 0]);
    }

    #[test]
    fn moments_are_written_as_rfc_5280_wants_them() {
        let time = |secs: u64| String::from_utf8(Der::build(SEQUENCE, |der| der.time(secs)).split_off(4)).unwrap();
        for (secs, text) in [
            (0, "700101000000Z"),
            (951_782_400, "000229000000Z"),
            (951_868_800, "000301000000Z"),
            (1_735_689_599, "241231235959Z"),
            (2_524_607_999, "491231235959Z"),
            (2_524_608_000, "20500101000000Z"),
            (4_107_542_400, "21000301000000Z"),
            (253_402_300_799, "99991231235959Z"),
        ] {
            assert_eq!(time(secs), text, "{secs}");
        }
    }
}
