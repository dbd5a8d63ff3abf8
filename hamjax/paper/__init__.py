"""The paper's grid: networks times strategies times seeds, and its tables beside ours."""
