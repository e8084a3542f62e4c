//! `pricing` over gRPC, both sides, without a generator: `shop.Pricing/Quote` asks for the prices of a few articles.
//!
//! ```proto
//! message Articles { repeated string names = 1; }
//! message Prices { repeated uint32 cents = 1; string served_by = 2; }
//! service Pricing { rpc Quote(Articles) returns (Prices); }
//! ```

use anyhow::{Result, anyhow};
use http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::passage::Passage;

const QUOTE: &str = "/shop.Pricing/Quote";

/// What to price.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Articles {
    #[prost(string, repeated, tag = "1")]
    pub(crate) names: Vec<String>,
}

/// The prices, in the order asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Prices {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) cents: Vec<u32>,
    #[prost(string, tag = "2")]
    pub(crate) served_by: String,
}

/// Asks for prices.
pub(crate) async fn quote(channel: Channel, names: &[&str], passage: &Passage) -> Result<Prices> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let mut request = Request::new(Articles { names });
    passage.write(request.metadata_mut());
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| anyhow!("pricing cannot be reached: {error}"))?;
    let codec = ProstCodec::<Articles, Prices>::default();
    let answer = client.unary(request, PathAndQuery::from_static(QUOTE), codec).await;
    answer.map(Response::into_inner).map_err(|status| {
        let why = status.metadata().get("proxy-status").and_then(|value| value.to_str().ok()).unwrap_or_default();
        anyhow!("pricing answered {:?} {} {why}", status.code(), status.message())
    })
}

/// Serves one call of the service.
pub(crate) async fn serve<B>(request: http::Request<B>, name: &str) -> http::Response<tonic::body::Body>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    if request.uri().path() != QUOTE {
        return Status::unimplemented("only shop.Pricing/Quote is served here").into_http();
    }
    let name = name.to_owned();
    let quote = tower::service_fn(move |request: Request<Articles>| {
        let served_by = name.clone();
        async move {
            let cents = request.into_inner().names.iter().map(|article| price(article)).collect();
            Ok(Response::new(Prices { cents, served_by }))
        }
    });
    tonic::server::Grpc::new(ProstCodec::<Prices, Articles>::default()).unary(quote, request).await
}

/// A price that only depends on the article's name.
fn price(article: &str) -> u32 {
    article.bytes().fold(17, |sum: u32, byte| (sum * 31 + u32::from(byte)) % 10_000) + 99
}

#[cfg(test)]
mod tests {
    use super::price;

    #[test]
    fn a_price_stays_the_same() {
        assert_eq!(price("paddle"), price("paddle"));
        assert_ne!(price("paddle"), price("anchor"));
    }
}
