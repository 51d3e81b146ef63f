//! A page without anything from elsewhere. Its script and style run by a nonce,
//! and it speaks with this server alone.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::live_page::LOOK;

/// Its HTML, with `{nonce}` where the nonce goes, `{look}` where the style that the
/// pages share, and `{version}`. Nothing that anybody sends becomes a part of it.
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
        let parts = [
            ("{nonce}", nonce.as_str()),
            ("{look}", LOOK),
            ("{version}", env!("CARGO_PKG_VERSION")),
        ];
        let page = parts
            .into_iter()
            .fold(self.0.to_owned(), |page, (name, part)| {
                page.replace(name, part)
            });
        (headers, Html(page)).into_response()
    }
}
