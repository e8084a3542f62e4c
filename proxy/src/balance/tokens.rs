//! Endpoints by what sessions call them. The table is made when the first session asks, so that a destination without
//! sessions has none.

use std::sync::{Arc, OnceLock};

use crate::endpoint::{Endpoint, Token};

/// Indexes of endpoints in the order of their tokens.
#[derive(Debug, Default)]
pub struct Tokens(OnceLock<Box<[(Token, u32)]>>);

impl Tokens {
    /// The index of whom a token names.
    pub fn find(&self, endpoints: &[Arc<Endpoint>], token: Token) -> Option<usize> {
        let table = self.0.get_or_init(|| {
            let mut table: Vec<_> = (0_u32..).zip(endpoints).map(|(index, one)| (one.token, index)).collect();
            table.sort_unstable();
            table.into()
        });
        let found = table.binary_search_by(|(one, _)| one.cmp(&token)).ok()?;
        table.get(found).map(|(_, index)| *index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::Tokens;
    use crate::balance::tests::endpoints;
    use crate::endpoint::Token;

    #[test]
    fn every_token_finds_its_endpoint_and_no_other_does() {
        let endpoints = endpoints(&[1; 300]);
        let tokens = Tokens::default();
        for (index, endpoint) in endpoints.iter().enumerate() {
            assert_eq!(tokens.find(&endpoints, endpoint.token), Some(index));
        }
        assert_eq!(tokens.find(&endpoints, Token([7; Token::LENGTH])), None);
        assert_eq!(Tokens::default().find(&[], endpoints[0].token), None);
    }
}
