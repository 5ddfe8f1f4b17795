//! Sizes of memory and disk in Slurm's units.
//!
//! Invariant: a size is shown in the largest unit that divides it, so nothing is rounded away.
//! Deliberately absent: reading sizes (`submit`).

const MIB: u64 = 1 << 20;
const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];

/// `number` of `UNITS[unit]` in the largest unit that divides it.
fn exact(mut number: u64, mut unit: usize) -> String {
    if number == 0 {
        return "0".to_owned();
    }
    while number.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        number /= 1024;
        unit += 1;
    }
    format!("{number}{}", UNITS[unit])
}

/// Whole mebibytes, rounded up.
#[must_use]
pub fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}

/// `477M`, `1G`, `0`.
#[must_use]
pub fn memory(bytes: u64) -> String {
    exact(mebibytes(bytes), 2)
}

/// Usage in kibibytes, as accounting tells it: `12345K`, `2M`, `0`.
#[must_use]
pub fn usage(bytes: u64) -> String {
    exact(bytes.div_ceil(1024), 1)
}

/// `bytes` in the unit asked for by `--units`: `1.46G`, `12K`; whole numbers without decimals.
#[must_use]
pub fn in_unit(bytes: u64, unit: char) -> String {
    let at = UNITS.iter().position(|known| known.starts_with(unit)).unwrap_or(2);
    if bytes == 0 {
        return "0".to_owned();
    }
    let scale = 1u128 << (10 * at);
    let hundredths = (u128::from(bytes) * 100 + scale / 2) / scale;
    let unit = UNITS[at];
    if hundredths.is_multiple_of(100) {
        return format!("{}{unit}", hundredths / 100);
    }
    format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_every_digit() {
        assert_eq!(memory(100 << 20), "100M");
        assert_eq!(memory(1 << 30), "1G");
        assert_eq!(memory(1536 << 20), "1536M");
        assert_eq!(memory(0), "0");
        assert_eq!(usage(12_345 << 10), "12345K");
        assert_eq!(usage(2 << 20), "2M");
    }

    #[test]
    fn a_unit_that_was_asked_for_is_kept() {
        assert_eq!(in_unit(1536 << 20, 'G'), "1.50G");
        assert_eq!(in_unit(200 << 20, 'M'), "200M");
        assert_eq!(in_unit(200 << 20, 'K'), "204800K");
    }
}
