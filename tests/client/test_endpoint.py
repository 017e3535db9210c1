import pytest

from podflare_nb.client import InvalidArgumentError
from podflare_nb.client.endpoint import DEFAULT_URL, locate


@pytest.fixture
def data_dir(tmp_path):
    (tmp_path / "api-key").write_text("local-key\n")
    (tmp_path / "service.json").write_text('{"url": "http://127.0.0.1:9999/podflare", "pid": 1}')
    return tmp_path


def found(environ, host=None, api_key=None):
    endpoint = locate(host, api_key, environ=environ)
    return endpoint.url, endpoint.api_key


def test_the_service_of_this_machine_is_found_with_nothing_configured(data_dir):
    assert found({"PODFLARE_NB_DATA_DIR": str(data_dir)}) == ("http://127.0.0.1:9999/podflare", "local-key")


def test_without_any_service_the_default_place_is_called_without_a_key(tmp_path):
    endpoint = locate(environ={"XDG_DATA_HOME": str(tmp_path)})
    assert (endpoint.url, endpoint.api_key) == (DEFAULT_URL, None)
    assert str(tmp_path / "podflare_nb" / "api-key") in endpoint.key_source


@pytest.mark.parametrize("note", ["", "not json", "[]", '{"url": 1}'])
def test_a_broken_note_of_the_service_counts_as_none(tmp_path, note):
    (tmp_path / "service.json").write_text(note)
    assert found({"PODFLARE_NB_DATA_DIR": str(tmp_path)}) == (DEFAULT_URL, None)


def test_arguments_come_before_the_environment_and_that_before_the_files(data_dir):
    environ = {"PODFLARE_NB_DATA_DIR": str(data_dir), "PODFLARE_NB_URL": "https://a/x/", "PODFLARE_NB_API_KEY": "k"}
    assert found(environ, "https://b/podflare", "arg") == ("https://b/podflare", "arg")
    assert found(environ) == ("https://a/x", "k")


def test_the_names_of_the_published_client_serve_too(data_dir):
    environ = {"PODFLARE_NB_DATA_DIR": str(data_dir), "PODFLARE_HOST": "https://h/", "PODFLARE_API_KEY": "hosted"}
    assert found(environ) == ("https://h", "hosted")


def test_the_local_key_never_goes_to_another_host(data_dir):
    environ = {"PODFLARE_NB_DATA_DIR": str(data_dir)}
    assert found(environ, "https://elsewhere/podflare") == ("https://elsewhere/podflare", None)
    assert found(environ, "http://localhost:9999/podflare") == ("http://localhost:9999/podflare", "local-key")
    assert found(environ, "http://127.0.0.1:9998/podflare") == ("http://127.0.0.1:9998/podflare", None)


def test_a_hosted_key_does_not_hide_the_local_one(data_dir):
    environ = {"PODFLARE_NB_DATA_DIR": str(data_dir), "PODFLARE_API_KEY": "hosted"}
    assert found(environ)[1] == "local-key"


@pytest.mark.parametrize("host", ["127.0.0.1:8888", "ftp://x", "http://", "nonsense"])
def test_a_host_that_is_no_url_is_refused_with_an_example(host):
    with pytest.raises(InvalidArgumentError, match=r"http://127\.0\.0\.1:8888/podflare"):
        locate(host, "k", environ={})


def test_a_key_that_cannot_be_one_is_refused_and_never_shown():
    with pytest.raises(InvalidArgumentError) as caught:
        locate(api_key="s\u00e9cret", environ={})
    assert "cret" not in str(caught.value)
    assert "very-secret" not in repr(locate(api_key="very-secret", environ={}))
