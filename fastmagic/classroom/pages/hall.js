document.getElementById("go").onsubmit = (event) => {
  event.preventDefault();
  const name = document.getElementById("room").value.trim().toLowerCase().replace(/[^a-z0-9-]/g, "");
  if (name) location.href = `${name}/`;
};
