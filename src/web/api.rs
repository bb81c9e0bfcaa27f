//! The API: what may be done with aliases, and the OpenAPI document that says so.

use std::sync::Arc;

use poem::http::header;
use poem::web::Data;
use poem::{Endpoint, Request, RequestBody, Response, Route};
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::{Json, PlainText};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, OpenApi, OpenApiService,
};

use super::Shared;
use super::body::Strict;
use super::client::Context;
use super::problem::{Problem, Refused, Statuses};
use super::schema::{AliasChange, AliasRequest, AliasView};
use crate::alias::{Alias, ManageKey, State};
use crate::clock::{self, Timestamp};
use crate::events::Event;
use crate::ledger::{AmendOutcome, Amendment};

/// Of the API, not of the program: changes when a client would have to.
const VERSION: &str = "1";

const SUMMARY: &str = "E-mail addresses that destroy themselves after some messages or days.";

/// A name and a key that no alias has, looked up in place of malformed ones so that they take as
/// long as wrong ones. Names have 4 characters or more; a key's hash is never that of zeroes.
const NOBODY: &str = "0";
const NO_KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The operations of the API, and its OpenAPI document.
pub fn endpoint(shared: Arc<Shared>) -> impl Endpoint<Output = Response> {
    let service = OpenApiService::new(Api(shared), "tempalias", VERSION).description(SUMMARY).server("/");
    Route::new().at("/openapi.json", poem::get(service.spec_endpoint())).at("/*path", service)
}

struct Api(Arc<Shared>);

#[OpenApi]
impl Api {
    /// Create an alias
    ///
    /// Any site may ask for one from a browser (CORS, without credentials).
    ///
    /// With an `Idempotency-Key` the same request gives the same alias for 24 hours, so that it can
    /// be repeated when its answer was lost. Use a random one for each alias, like a UUID.
    #[oai(path = "/aliases", method = "post", operation_id = "createAlias")]
    async fn create(
        &self,
        context: Data<&Context>,
        /// The client's own name for this request; 1 to 255 visible ASCII characters.
        #[oai(name = "Idempotency-Key")]
        once: Header<Option<String>>,
        body: Strict<AliasRequest>,
    ) -> Result<Created, Refused<Creating>> {
        let Strict(request) = body;
        let view = self.0.issuer.issue(request, &context, once.as_deref()).await?;
        let location = format!("/aliases/{}", view.aid);
        Ok(Created::Alias(Json(view), location))
    }

    /// Look at an alias
    ///
    /// Not found: no such alias, one past its end, no key or a wrong one; always the same answer.
    #[oai(path = "/aliases/:aid", method = "get", operation_id = "showAlias")]
    async fn show(
        &self,
        /// The alias's name.
        aid: Path<String>,
        key: HolderKey,
    ) -> Result<Json<AliasView>, Refused<Looking>> {
        let now = clock::now();
        let alias = self.held(&aid, &key, now).await?;
        Ok(Json(AliasView::new(&alias, now, &[])))
    }

    /// Change the limits of an alias, or pause it
    ///
    /// What the request does not name stays as it is. `days` counts from now (or from `valid_from`,
    /// while that lies ahead), `max-usage` is the number of messages in all, those already
    /// forwarded included: an alias that is used up goes on when it is raised.
    #[oai(path = "/aliases/:aid", method = "patch", operation_id = "changeAlias")]
    async fn change(
        &self,
        context: Data<&Context>,
        /// The alias's name.
        aid: Path<String>,
        key: HolderKey,
        body: Strict<AliasChange>,
    ) -> Result<Json<AliasView>, Refused<Changing>> {
        let now = clock::now();
        let name = self.held(&aid, &key, now).await?.name;
        let Strict(change) = body;
        let amendment = Amendment { limits: change.limits(), paused: change.paused };
        match self.0.ledger.amend(name, amendment, context.config.aliases.caps(), now).await? {
            AmendOutcome::Amended(alias, clamped) => {
                self.0.events.tell(Event::Changed(&alias.name));
                Ok(Json(AliasView::new(&alias, now, &clamped)))
            }
            AmendOutcome::Refused(why) => Err(why.into()),
            AmendOutcome::Missing => Err(Problem::NotFound.into()),
        }
    }

    /// Revoke an alias
    ///
    /// It stops at once and is deleted with all its data; its name is never handed out again.
    #[oai(path = "/aliases/:aid", method = "delete", operation_id = "revokeAlias")]
    async fn revoke(
        &self,
        /// The alias's name.
        aid: Path<String>,
        key: HolderKey,
    ) -> Result<Revoked, Refused<Looking>> {
        let alias = self.held(&aid, &key, clock::now()).await?;
        if !self.0.ledger.revoke(alias.name.clone()).await? {
            return Err(Problem::NotFound.into());
        }
        self.0.events.tell(Event::Revoked(&alias.name));
        Ok(Revoked::Done)
    }

    /// Is the server alive?
    #[oai(path = "/healthz", method = "get", operation_id = "health")]
    async fn health(&self) -> PlainText<&'static str> {
        PlainText("ok\n")
    }

    /// Can it hand out aliases?
    #[oai(path = "/readyz", method = "get", operation_id = "readiness")]
    async fn readiness(&self) -> Result<PlainText<&'static str>, Refused<Failing>> {
        self.0.ledger.check(clock::now()).await?;
        Ok(PlainText("ok\n"))
    }
}

impl Api {
    /// The alias that `key` opens, if it has not ended. Whatever is wrong, the answer and the work
    /// are the same.
    async fn held(&self, aid: &str, key: &HolderKey, now: Timestamp) -> Result<Alias, Problem> {
        let name = aid.parse().unwrap_or_else(|_| NOBODY.parse().expect("it is a well-formed name"));
        let key = key.0.clone().unwrap_or_else(|| NO_KEY.parse().expect("it is a well-formed key"));
        let alias = self.0.ledger.lookup_with_key(&name, &key).await?;
        alias.filter(|alias| alias.state(now) != State::Expired).ok_or(Problem::NotFound)
    }
}

#[derive(ApiResponse)]
enum Created {
    /// The alias, with its key.
    #[oai(status = 201)]
    Alias(
        Json<AliasView>,
        /// Where to manage the alias.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum Revoked {
    /// Gone.
    #[oai(status = 204)]
    Done,
}

/// The manage key out of `Authorization: Bearer`, or none: a missing one is no other case than a
/// wrong one, so extracting it never fails.
struct HolderKey(Option<ManageKey>);

impl<'a> ApiExtractor<'a> for HolderKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "http",
            description: Some("The `updatekey` of the answer that handed out the alias."),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme("updatekey", scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["updatekey"]
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let credentials = request.header(header::AUTHORIZATION).and_then(|text| text.split_once(' '));
        let key = credentials.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
        Ok(HolderKey(key.and_then(|(_, key)| key.trim().parse().ok())))
    }
}

const NO_ALIAS: (u16, &str) = (404, "`not-found`: no such alias, or the key does not fit.");
const BROKEN: (u16, &str) = (500, "`server-error`: our fault; it has been logged.");
const BUSY: (u16, &str) = (503, "`server-error`: no room or too busy; `Retry-After` says when to come back.");
const INVALID: (u16, &str) =
    (400, "`invalid-data`, `invalid-content-length`: the description says what is wrong.");
const SLOW: (u16, &str) = (408, "`invalid-content-length`: the body did not arrive in time.");
const NO_LENGTH: (u16, &str) = (411, "`invalid-content-length`: there is no body.");
const LARGE: (u16, &str) = (413, "`too-much-data`: the body is larger than 1 KiB.");
const OTHER_REQUEST: (u16, &str) =
    (422, "`invalid-data`: the `Idempotency-Key` has been used for another request.");
const LISTED: (u16, &str) = (403, "`rbl-check-failed`: the client is on a list of abused addresses.");
const TOO_OFTEN: (u16, &str) =
    (429, "`rate-limited`: the client has had its share; `Retry-After` says when to come back.");
const NOT_JSON: (u16, &str) = (415, "`invalid-request-type`: the body is not `application/json`.");

/// Needs nothing from the client.
struct Failing;

impl Statuses for Failing {
    const LIST: &'static [(u16, &'static str)] = &[BROKEN, BUSY];
}

/// Needs a key.
struct Looking;

impl Statuses for Looking {
    const LIST: &'static [(u16, &'static str)] = &[NO_ALIAS, BROKEN, BUSY];
}

/// Needs a body.
struct Creating;

impl Statuses for Creating {
    const LIST: &'static [(u16, &'static str)] =
        &[INVALID, LISTED, SLOW, NO_LENGTH, LARGE, NOT_JSON, OTHER_REQUEST, TOO_OFTEN, BROKEN, BUSY];
}

/// Needs a key and a body.
struct Changing;

impl Statuses for Changing {
    const LIST: &'static [(u16, &'static str)] =
        &[INVALID, NO_ALIAS, SLOW, NO_LENGTH, LARGE, NOT_JSON, BROKEN, BUSY];
}
