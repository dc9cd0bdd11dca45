//! What of a request decides where it belongs.

use std::fmt;

use http::{Extensions, HeaderMap, Method, Request, Uri};

/// A request without its body, as the closures of [`Endpoints`](crate::Endpoints) see it.
///
/// ```
/// use http::Request;
/// use tower_throttle::RequestHead;
///
/// let request = Request::post("https://api.example/v1/music").body("la la")?;
/// let head = RequestHead::from(&request);
/// assert_eq!(head.method(), "POST");
/// assert_eq!(head.uri().path(), "/v1/music");
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    /// The request's method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The request's URI, as it came.
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The request's headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The request's extensions.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// Says the method and the path only: a key can be in any header, in the query and in the userinfo.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("path", &self.uri.path())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let request = Request::get("https://user:secret@api.example/v1/voices?key=secret")
            .header("xi-api-key", "secret")
            .body(())
            .unwrap();
        assert_eq!(
            format!("{:?}", RequestHead::from(&request)),
            "RequestHead { method: GET, path: \"/v1/voices\", .. }"
        );
    }
}
