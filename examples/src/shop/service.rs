//! What each service of the shop answers. One function a service, one `match` to find it.
//!
//! Each answer names the instance behind it in `x-served-by`; `storefront` joins those of its parts, so that a caller
//! can count who served it. A page lacks nothing or is an error: `storefront` hides no failure of its own.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::caller::Caller;
use super::fault::Switch;
use super::passage::Passage;
use super::pricing;

/// The services by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The pages.
    Storefront,
    /// What is sold, with prices.
    Catalog,
    /// What a customer put aside.
    Cart,
    /// A stand-in for a model server.
    Recommend,
    /// Prices, over gRPC.
    Pricing,
}

/// One instance of a service.
pub(crate) struct Service {
    /// Which service.
    pub(crate) kind: Kind,
    /// The instance's name.
    pub(crate) name: String,
    /// The version it says it is; may be empty.
    pub(crate) version: String,
    /// Its way to the others.
    pub(crate) caller: Caller,
    /// Its fault switch.
    pub(crate) fault: Switch,
}

/// What a service says when all is well.
struct Page {
    served_by: String,
    body: Value,
}

impl Service {
    /// Answers one call.
    pub(crate) async fn answer(&self, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let passage = Passage::of(headers);
        let page = match self.kind {
            Kind::Storefront => self.storefront(&passage).await,
            Kind::Catalog => self.catalog(&passage).await,
            Kind::Cart => self.cart(path),
            Kind::Recommend => return self.recommend(path, &passage).await,
            Kind::Pricing => Err(anyhow::anyhow!("pricing speaks gRPC")),
        };
        finish(page, StatusCode::BAD_GATEWAY)
    }

    async fn storefront(&self, passage: &Passage) -> Result<Page> {
        let (catalog, cart, recommend) = tokio::join!(
            self.caller.get("catalog", "/items", passage),
            self.caller.get("cart", "/of/ada", passage),
            self.caller.get("recommend", "/for/ada", passage),
        );
        let (catalog, cart, recommend) = (catalog?, cart?, recommend?);
        let parts = [&catalog, &cart, &recommend].map(|part| part.field("x-served-by"));
        let served_by = format!("{} {}", self.name, parts.join(" "));
        let body = json!({
            "items": catalog.json()?,
            "cart": cart.json()?,
            "recommended": recommend.json()?,
        });
        Ok(Page { served_by, body })
    }

    async fn catalog(&self, passage: &Passage) -> Result<Page> {
        let articles = ["paddle", "anchor", "float", "rope"];
        let prices = self.prices(&articles, passage).await?;
        let items: Vec<Value> =
            articles.iter().zip(prices).map(|(name, cents)| json!({"name": name, "cents": cents})).collect();
        Ok(Page { served_by: self.name.clone(), body: json!(items) })
    }

    fn cart(&self, path: &str) -> Result<Page> {
        let Some(customer) = path.strip_prefix("/of/") else { bail!("a cart is at /of/CUSTOMER") };
        Ok(Page { served_by: self.name.clone(), body: json!({"customer": customer, "items": ["rope"]}) })
    }

    /// The model takes 3 ms of thinking, more and less reliably as its fault switch says.
    async fn recommend(&self, path: &str, passage: &Passage) -> Response<Full<Bytes>> {
        let (delay, fails) = self.fault.decide(fastrand::f64());
        tokio::time::sleep(std::time::Duration::from_millis(3) + delay).await;
        if fails {
            return finish(Err(anyhow::anyhow!("the model of {} failed", self.name)), StatusCode::SERVICE_UNAVAILABLE);
        }
        let page = self.prices(&["float"], passage).await.map(|prices| Page {
            served_by: format!("{} recommend-{}", self.name, self.version),
            body: json!({"asked": path, "version": self.version, "items": ["float"], "cents": prices}),
        });
        finish(page, StatusCode::BAD_GATEWAY)
    }

    async fn prices(&self, articles: &[&str], passage: &Passage) -> Result<Vec<u32>> {
        let channel = self.caller.channel("pricing")?;
        let prices = pricing::quote(channel, articles, passage).await.context("no prices")?;
        if prices.cents.len() != articles.len() {
            bail!("{} priced {} of {} articles", prices.served_by, prices.cents.len(), articles.len());
        }
        Ok(prices.cents)
    }
}

fn finish(page: Result<Page>, otherwise: StatusCode) -> Response<Full<Bytes>> {
    let (status, served_by, body) = match page {
        Ok(page) => (StatusCode::OK, page.served_by, page.body),
        Err(error) => (otherwise, String::new(), json!({"error": format!("{error:#}")})),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    if let Ok(value) = http::HeaderValue::from_str(&served_by) {
        response.headers_mut().insert("x-served-by", value);
    }
    response
}
