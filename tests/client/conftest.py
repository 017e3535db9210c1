import pytest
from stand_in_service import KEY, StandInService

from podflare_nb.client import AsyncSandbox, Sandbox, close_all


@pytest.fixture
def stand_in():
    with StandInService() as service:
        yield service
        close_all()


@pytest.fixture
def sandbox(stand_in):
    with Sandbox(host=stand_in.url, api_key=KEY) as sandbox:
        yield sandbox


@pytest.fixture
async def async_sandbox(stand_in):
    async with AsyncSandbox(host=stand_in.url, api_key=KEY) as sandbox:
        yield sandbox
