"""Where the mirror finds indexes: the operator's file over what pip, npm and apt of the host use."""

import base64

import pytest

from podflare_nb.errors import InvalidArgumentError
from podflare_nb.provisioning.network.mirror import host_settings, settings
from podflare_nb.provisioning.network.mirror.settings import Settings, Site

SECRET = "p@ss"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def read(tmp_path, text: str, host: Settings | None = None) -> Settings:
    path = tmp_path / "packages.toml"
    path.write_text(text)
    return settings.read(path, host or Settings())


def test_credentials_are_taken_out_of_addresses(tmp_path):
    found = read(tmp_path, '[python]\nindex_url = "https://me:p%40ss@index.test:8443/simple"')
    assert found.python == (Site("https://index.test:8443/simple/", basic("me", SECRET)),)
    assert SECRET not in repr(found)
    assert basic("me", SECRET) not in repr(found)


def test_what_the_file_leaves_out_is_the_host_s(tmp_path):
    host = Settings(python=(Site("https://host.test/"),), npm={"": Site("https://npm.test/")})
    found = read(
        tmp_path,
        '[npm]\nregistry = "https://own.test"\ntoken = "t"\n[npm.scopes."@a"]\nregistry = "http://a.test"',
        host,
    )
    assert found.python == host.python
    assert found.npm == {"": Site("https://own.test/", "Bearer t"), "@a": Site("http://a.test/")}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[python]\nindex_url = 3", "python.index_url"),
        ('[python]\nindex_url = "ftp://x/"', "python.index_url"),
        (f'[python]\nindex_url = "https://me:{SECRET}@[bad/"', "python.index_url"),
        ('[python]\nextra_index_urls = ["https://x/"]', "python.index_url"),
        ('[pyhton]\nindex_url = "https://x/"', "pyhton.index_url"),
        ("[npm.scopes.a]", "@"),
        ("python = 3", "python"),
        ("not toml", "cannot be read"),
    ],
)
def test_a_mistake_is_told_with_its_field_and_without_the_password(tmp_path, text, word):
    with pytest.raises(InvalidArgumentError) as refused:
        read(tmp_path, text)
    assert word in refused.value.message
    assert SECRET not in refused.value.message


def test_the_host_s_pip_npm_and_apt_are_read(tmp_path):
    home = tmp_path / "home"
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://me:pw@pip.test/simple\n"
        "extra-index-url =\n  file:///srv/simple\n  https://more.test/\ncert = /ca.pem\n"
    )
    (home / ".npmrc").write_text(
        "registry=https://npm.test/x/\n//npm.test/x/:_authToken=${TOKEN}\n@a:registry=https://a.test\n"
    )
    (tmp_path / "apt").mkdir()
    (tmp_path / "apt/sources.list").write_text("deb https://me:pw@deb.test/debian stable main\n")
    found = host_settings.find({"HOME": str(home), "TOKEN": "t"}, tmp_path / "apt")
    assert found.python == (Site("https://pip.test/simple/", basic("me", "pw")), Site("https://more.test/"))
    assert found.npm == {"": Site("https://npm.test/x/", "Bearer t"), "@a": Site("https://a.test/")}
    assert found.debian == {"http://deb.test/debian/": Site("https://deb.test/debian/", basic("me", "pw"))}
    assert found.ca_bundle == "/ca.pem"


def test_the_environment_counts_more_than_files():
    found = host_settings.find(
        {"HOME": "/nonexistent", "PIP_INDEX_URL": "https://env.test/simple", "PIP_CERT": "/env.pem"}
    )
    assert found.python[0].url == "https://env.test/simple/"
    assert found.ca_bundle == "/env.pem"
