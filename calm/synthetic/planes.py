"""The imaged planes of a synthetic session in its NWB file: where the neurons lie, and their fluorescence."""

import numpy as np
import pandas as pd
from hdmf.backends.hdf5 import H5DataIO
from hdmf.common import ElementIdentifiers, VectorData, VectorIndex
from jaxtyping import Float
from pynwb import NWBFile
from pynwb.ophys import DfOverF, ImageSegmentation, ImagingPlane, OpticalChannel, PlaneSegmentation, RoiResponseSeries

from calm.synthetic.cohort import SessionPlan, generator
from calm.synthetic.maze import CYCLE, PLANES, RATE
from calm.synthetic.population import VOLUME
from calm.synthetic.truth import Truth

STEP = 2.0**-10  # dF/F; traces are rounded to it, far below the noise, so that they can be compressed
CHUNK = 2**17  # numbers in a chunk of traces: 1 MB
CENTRES = {  # ml, ap in mm from bregma, roughly where the areas lie in the left hemisphere
    "V1": (-2.6, -3.6),
    "PM": (-1.7, -2.9),
    "AM": (-1.7, -2.2),
    "visA": (-2.4, -1.8),
    "MM": (-1.2, -2.3),
    "RSC": (-0.6, -2.7),
}
DEPTHS = {"L23": 0.12, "L5": 0.42}  # mm of the uppermost plane
PLANE_DISTANCE = 0.03  # mm
FIELD = 512  # pixels of a side
FIELD_SIZE = 0.7  # mm


def compressed(data: np.ndarray, **options: object) -> H5DataIO:
    """Data that pynwb compresses when it writes them."""
    return H5DataIO(data, compression="gzip", compression_opts=1, shuffle=True, **options)


def frame_times(frames: np.ndarray) -> np.ndarray:
    """Middle of a frame in s."""
    return (frames + 0.5) / RATE


def place_neurons(plan: SessionPlan, truth: Truth) -> pd.DataFrame:
    """Where each neuron lies: `plane`, `roi` (its row there), `x`, `y` (pixels), `ml`, `ap`, `depth` (mm), `area`."""
    rng, planes = generator(truth.config.seed, plan.name, "places"), truth.population.neurons["plane"]
    x, y = rng.integers(1, FIELD - 1, (2, len(planes)))
    ml, ap = CENTRES[plan.area]
    return pd.DataFrame(
        {
            "plane": planes,
            "roi": planes.groupby(planes).cumcount(),
            "x": x,
            "y": y,
            "ml": ml + (y / FIELD - 0.5) * FIELD_SIZE,
            "ap": ap + (x / FIELD - 0.5) * FIELD_SIZE,
            "depth": DEPTHS[plan.layer] + PLANE_DISTANCE * planes,
            "area": "A" if plan.area == "visA" else plan.area,
        }
    )


def add_planes(nwb: NWBFile, plan: SessionPlan, truth: Truth) -> None:
    """Add the four planes: their tables of ROIs, dF/F and deconvolved activity."""
    imaging = nwb.create_imaging_plane(
        name="ImagingPlane_GCaMP6s_920nm",
        optical_channel=OpticalChannel(name="OpticalChannel_GCaMP", description="GCaMP", emission_lambda=525.0),
        imaging_rate=RATE,
        description=f"four planes in {plan.area} {plan.layer}",
        device=nwb.create_device(name="two_photon_microscope", description="there is none: synthetic data"),
        excitation_lambda=920.0,
        indicator="GCaMP6s",
        location=plan.area,
    )
    places, segmentation = place_neurons(plan, truth), ImageSegmentation()
    module = nwb.create_processing_module(name="ophys", description="Fluorescence of four planes.")
    module.add(segmentation)
    for plane in range(PLANES):
        rois = roi_table(plane, places[places["plane"] == plane], imaging)
        segmentation.add_plane_segmentation(rois)
        add_traces(nwb, rois, plane, record(plan, truth, plane), truth.config.decay)


def roi_table(plane: int, places: pd.DataFrame, imaging: ImagingPlane) -> PlaneSegmentation:
    """The ROIs of a plane, nine pixels each."""
    around = np.array([(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)])
    pixels = (places[["x", "y"]].to_numpy()[:, None] + around).reshape(-1, 2)
    mask = np.array([(x, y, 1.0) for x, y in pixels], dtype=[("x", "u4"), ("y", "u4"), ("weight", "f4")])
    masks = VectorData(name="pixel_mask", description="pixels of each ROI", data=mask)
    ends = len(around) * np.arange(1, len(places) + 1, dtype=np.uint32)
    units = {"ml": "mm from bregma", "ap": "mm from bregma", "depth": "mm from pia", "area": "cortical area"}
    return PlaneSegmentation(
        name=f"PlaneSegmentation_{plane}",
        description=f"ROIs of plane {plane}",
        imaging_plane=imaging,
        id=ElementIdentifiers(name="id", data=places["roi"].to_numpy(np.int32)),
        columns=[
            VectorIndex(name="pixel_mask_index", data=ends, target=masks),
            masks,
            *(VectorData(name=name, description=text, data=places[name].tolist()) for name, text in units.items()),
        ],
        colnames=["pixel_mask", *units],
    )


def record(plan: SessionPlan, truth: Truth, plane: int) -> Float[np.ndarray, "volume neuron_of_plane"]:
    """dF/F of a plane with imaging noise, in steps of STEP."""
    clean = truth.traces(plane)
    noise = generator(truth.config.seed, plan.name, "imaging", plane).normal(0, truth.config.imaging_noise, clean.shape)
    return STEP * np.round((clean + noise).T / STEP)


def deconvolve(traces: Float[np.ndarray, "volume neuron"], decay: float) -> Float[np.ndarray, "volume neuron"]:
    """A stand-in for deconvolved activity: what the decay of calcium does not explain, where it is positive."""
    above = traces - np.median(traces, axis=0)
    fresh = above - np.exp(-VOLUME / decay) * np.concatenate([above[:1], above[:-1]])
    return STEP * np.round(np.maximum(fresh, 0) / STEP)


def add_traces(
    nwb: NWBFile, rois: PlaneSegmentation, plane: int, traces: Float[np.ndarray, "volume neuron"], decay: float
) -> None:
    """Add the dF/F and the deconvolved activity of a plane, (frames, ROIs), both on the timestamps of the latter."""
    container = DfOverF(name=f"df_over_f_plane_{plane}")
    nwb.processing["ophys"].add(container)
    chunks = (min(len(traces), max(1, CHUNK // traces.shape[1])), traces.shape[1])
    deconvolved = RoiResponseSeries(
        name=f"deconvolved_activity_plane_{plane}",
        description=f"deconvolved activity of the ROIs in PlaneSegmentation_{plane}",
        data=compressed(deconvolve(traces, decay), chunks=chunks),
        unit="A.U.",
        rois=rois.create_roi_table_region(
            region=list(range(len(rois))), description=f"the ROIs in PlaneSegmentation_{plane}"
        ),
        timestamps=compressed(frame_times(np.arange(len(traces)) * CYCLE + plane)),
    )
    nwb.processing["ophys"].add(deconvolved)
    fluorescence = RoiResponseSeries(
        name=f"dF_over_F_plane_{plane}",
        description=f"dF/F of the ROIs in PlaneSegmentation_{plane}",
        data=compressed(traces, chunks=chunks),
        unit="A.U.",
        rois=rois.create_roi_table_region(
            region=list(range(len(rois))), description=f"the ROIs in PlaneSegmentation_{plane}"
        ),
        timestamps=deconvolved,
    )
    container.add_roi_response_series(fluorescence)
