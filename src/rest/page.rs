//! A page without anything from elsewhere. Its script and style run by a nonce,
//! and it speaks with this server alone.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

/// Its HTML, with `{nonce}` where the nonce goes. Nothing that anybody sends
/// becomes a part of it.
pub(super) struct Page(pub(super) &'static str);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let nonce = format!("{:032x}", fastrand::u128(..));
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let headers = [
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::REFERRER_POLICY, "no-referrer".to_owned()),
        ];
        (headers, Html(self.0.replace("{nonce}", &nonce))).into_response()
    }
}
