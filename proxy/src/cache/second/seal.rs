//! Names and seals of what is kept in the second level: nobody finds, and nobody takes for good, what was put there under
//! another key, by another version, or by who does not know the mesh's secret.
//!
//! A name tells nothing of the target it is of. A seal is over the whole entry and over where it stands, so that an entry
//! is of no use anywhere else. Without a secret both keep off accidents alone: whoever can write there can forge them.

use std::fmt::Write;

use blake3::Hasher;

use super::super::stored::Varied;

/// The version of names and entries. Another one reads and writes elsewhere.
pub const VERSION: u8 = 1;

/// What a seal takes at the end of an entry, bytes.
pub const SEAL: usize = 32;

/// What is kept of one target, by all its routes; and which of a route's keys is meant, where fields are part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    target: [u8; 32],
    /// Zeroes where each target has one key.
    part: [u8; 24],
}

impl Name {
    /// The same of the target with all its keys.
    #[must_use]
    pub fn of_target(self) -> Self {
        Name { part: [0; 24], ..self }
    }

    /// What tells the target from others.
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// As Redis knows it.
    pub fn key(&self) -> String {
        let mut key = format!("outrigger:cache:{VERSION}:");
        for byte in self.target {
            // Writing to a string cannot fail.
            let _ = write!(key, "{byte:02x}");
        }
        key
    }
}

/// Makes names and seals.
#[derive(Clone)]
pub struct Sealer {
    names: [u8; 32],
    seals: [u8; 32],
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// With this secret, which may be empty.
    pub fn new(secret: &[u8]) -> Self {
        Sealer {
            names: blake3::derive_key("outrigger 2026 cache: names", secret),
            seals: blake3::derive_key("outrigger 2026 cache: seals", secret),
        }
    }

    /// The name of what is kept by the key of a target, and of the fields that are part of it.
    pub fn name(&self, target: &[u8], part: &[u8]) -> Name {
        let digest = |bytes: &[u8]| *blake3::keyed_hash(&self.names, bytes).as_bytes();
        let mut name = Name { target: digest(target), part: [0; 24] };
        if !part.is_empty() {
            name.part.copy_from_slice(&digest(part)[..24]);
        }
        name
    }

    /// The seal of an entry.
    pub fn seal(&self, name: &Name, field: &[u8], entry: &[u8]) -> blake3::Hash {
        let mut hasher = Hasher::new_keyed(&self.seals);
        hasher.update(&name.target);
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
        hasher.update(entry);
        hasher.finalize()
    }
}

/// Where what a route keeps of a target stands among all of it: a response that varies by nothing, or what its responses
/// vary by.
pub fn field(name: &Name, scope: u64) -> Vec<u8> {
    let part: &[u8] = if name.part == [0; 24] { &[] } else { &name.part };
    [&scope.to_le_bytes()[..], part].concat()
}

/// Where a variant stands.
pub fn variant_field(name: &Name, scope: u64, vary: &[Varied]) -> Vec<u8> {
    let mut hasher = Hasher::new();
    hasher.update(&name.part);
    for (name, had) in vary {
        hasher.update(name.as_str().as_bytes());
        // No name and no value has it in it; a field that is not there differs from one that is empty.
        hasher.update(&[0, u8::from(had.is_some())]);
        hasher.update(had.as_deref().unwrap_or_default());
        hasher.update(&[0]);
    }
    [&scope.to_le_bytes()[..], &hasher.finalize().as_bytes()[..24]].concat()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::{Sealer, variant_field};

    #[test]
    fn names_and_seals_hang_on_all_that_they_are_of() {
        let (one, other) = (Sealer::new(b"one"), Sealer::new(b"other"));
        assert_eq!(one.name(b"a", b""), Sealer::new(b"one").name(b"a", b""));
        assert_ne!(one.name(b"a", b""), one.name(b"b", b""));
        assert_ne!(one.name(b"a", b""), other.name(b"a", b""));
        assert!(one.name(b"a", b"").key().starts_with("outrigger:cache:1:") && !format!("{one:?}").contains("["));
        let name = one.name(b"a", b"");
        let seal = one.seal(&name, b"field", b"entry");
        for wrong in [
            other.seal(&name, b"field", b"entry"),
            one.seal(&one.name(b"b", b""), b"field", b"entry"),
            one.seal(&name, b"fiel", b"dentry"),
            one.seal(&name, b"field", b"entri"),
        ] {
            assert_ne!(seal, wrong);
        }
    }

    #[test]
    fn every_variant_has_a_place_of_its_own() {
        let vary = |fields: &[(&'static str, Option<&str>)]| {
            let one = |(name, had): &(&'static str, Option<&str>)| {
                (HeaderName::from_static(name), had.map(|had| had.as_bytes().into()))
            };
            variant_field(&Sealer::new(b"").name(b"a", b""), 7, &fields.iter().map(one).collect::<Vec<_>>())
        };
        let fields = [
            vary(&[("a", None)]),
            vary(&[("a", Some(""))]),
            vary(&[("a", Some("b"))]),
            vary(&[("a", Some("b")), ("c", None)]),
            vary(&[("ab", Some(""))]),
        ];
        for (index, field) in fields.iter().enumerate() {
            assert!(field.len() == 32 && !fields[..index].contains(field));
        }
    }
}
