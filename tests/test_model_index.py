"""model-index.yml and the metafiles, against the configs that exist."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
METAFILES = [ROOT / path for path in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']]
COLLECTIONS = {path: yaml.safe_load(path.read_text())['Collections'] for path in METAFILES}
MODELS = {path: yaml.safe_load(path.read_text())['Models'] for path in METAFILES}
ENTRIES = [pytest.param(path, model, id=model['Name']) for path in METAFILES for model in MODELS[path]]


def find_config(model: dict) -> Path:
    """The config of an entry; `mim download` reads the line about weights before it."""
    note, config = model['Config']
    assert note == 'configs/_base_/no_weights.py' and model['Weights'].endswith('/')
    return ROOT / config


def test_index_lists_all_metafiles():
    assert sorted(METAFILES) == sorted((ROOT / 'configs').rglob('metafile.yml'))


def test_names_are_unique():
    for entries in (COLLECTIONS, MODELS):
        names = [entry['Name'] for path in METAFILES for entry in entries[path]]
        assert len(names) == len(set(names)) > 0


@pytest.mark.parametrize('path', METAFILES, ids=lambda path: path.parent.name)
def test_collections(path):
    for collection in COLLECTIONS[path]:
        assert {'Name', 'Metadata', 'Paper', 'README', 'Code'} <= set(collection)
        assert collection['Paper']['URL'].startswith('https://') and collection['Paper']['Title']
        assert (ROOT / collection['README']).is_file()
        assert (ROOT / collection['Code']['URL']).is_file()


@pytest.mark.parametrize(('path', 'model'), ENTRIES)
def test_models(load, path, model):
    assert model['In Collection'] in [collection['Name'] for collection in COLLECTIONS[path]]
    config = find_config(model)
    assert config.is_file() and config.stem == model['Name'] and path.parent in config.parents
    assert model['Metadata']['Parameters'] > 0
    cfg = load(config)
    loops = {'Iterations': cfg.train_cfg.get('max_iters'), 'Epochs': cfg.train_cfg.get('max_epochs')}
    assert {unit: model['Metadata'].get(unit) for unit in loops} == loops
    for result in model.get('Results', []):
        assert {'Task', 'Dataset', 'Metrics'} <= set(result) and result['Metrics']


def test_every_thundernet_is_listed():
    """The short names of COCO's configs and the ablations on small data are not."""
    folder = ROOT / 'configs/thundernet'
    configs = [*folder.glob('thundernet_*.py'), *folder.glob('ablations/*.py')]
    small = [folder / 'snet49_shapes.py', folder / 'snet49_bccd.py']
    assert {find_config(model) for model in MODELS[folder / 'metafile.yml']} == {*configs, *small}


def test_loads_with_model_index():
    modelindex = pytest.importorskip('modelindex')
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert [model.name for model in index.models] == [model['Name'] for path in METAFILES for model in MODELS[path]]
    assert all(model.in_collection for model in index.models)
